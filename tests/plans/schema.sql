-- The relations that the cases read.
CREATE SOURCE bids (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, at TIMESTAMP,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'datagen');

CREATE SOURCE auctions (
  id BIGINT, seller BIGINT, category INT, reserve DECIMAL(10, 2), weight DOUBLE PRECISION, opened TIMESTAMP,
  WATERMARK FOR opened AS opened
) WITH (connector = 'datagen');

CREATE SOURCE clicks (bidder BIGINT, page TEXT, at TIMESTAMP) WITH (connector = 'datagen');

CREATE SOURCE accounts (id BIGINT PRIMARY KEY, owner TEXT, balance BIGINT, since TIMESTAMP)
WITH (connector = 'kafka', topic = 'accounts', properties.bootstrap.servers = 'localhost:9092')
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;

CREATE TABLE rates (currency TEXT PRIMARY KEY, rate DECIMAL(10, 4) NOT NULL, since TIMESTAMP DEFAULT now());

CREATE TABLE lines (a INT, b TEXT);

CREATE VIEW cheap (auction, cost) AS SELECT auction, price FROM bids WHERE price < 10;

CREATE VIEW open AS SELECT id, seller, opened FROM auctions WHERE category = 3;

CREATE VIEW recent AS SELECT * FROM bids WHERE at > now() - INTERVAL '1' HOUR;

CREATE MATERIALIZED VIEW totals AS
SELECT auction, count(*) AS bids, max(price) AS top FROM bids GROUP BY auction;

CREATE MATERIALIZED VIEW dear AS SELECT * FROM bids WHERE price > 1000;

CREATE SOURCE prices (item BIGINT PRIMARY KEY, price BIGINT, at TIMESTAMP, WATERMARK FOR at AS at)
WITH (connector = 'kafka', topic = 'prices', properties.bootstrap.servers = 'localhost:9092')
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
