-- Sinks.
CREATE SINK s AS SELECT auction, price FROM bids WHERE price > 1000 WITH (connector = 'blackhole');
CREATE SINK s FROM totals WITH (connector = 'kafka', topic = 't', properties.bootstrap.servers = 'localhost:9092')
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
CREATE SINK s AS SELECT t.auction, t.bids, a.owner FROM totals AS t LEFT JOIN accounts AS a ON a.id = t.auction
WITH (connector = 'kafka', topic = 't', key = 'auction', properties.bootstrap.servers = 'localhost:9092')
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
CREATE SINK s FROM dear WITH (connector = 'kafka', topic = 't', properties.bootstrap.servers = 'localhost:9092')
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
CREATE SINK s FROM cheap WITH (connector = 'blackhole');
CREATE SINK s FROM totals WITH (topic = 't');
CREATE SINK s AS SELECT auction, count(*) AS n FROM bids GROUP BY auction WITH (connector = 'file', path = 'out.csv')
FORMAT PLAIN ENCODE CSV;
