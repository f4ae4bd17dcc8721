-- now() in filters.
SELECT auction, price FROM bids WHERE at > now() - INTERVAL '1 hour' EMIT CHANGES;
SELECT auction, count(*) FROM bids WHERE at BETWEEN now() - INTERVAL '1 day' AND now() AND price > 3 GROUP BY auction EMIT CHANGES;
SELECT auction FROM recent EMIT CHANGES;
SELECT auction FROM bids WHERE now() > at OR price > 3 EMIT CHANGES;
