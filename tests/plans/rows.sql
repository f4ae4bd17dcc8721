-- Filters and projections.
SELECT * FROM bids EMIT CHANGES;
SELECT auction, price * 2 AS twice, upper(channel) FROM bids WHERE price > 100 AND channel <> 'web' EMIT CHANGES;
SELECT auction + -price, CASE WHEN price > 10 THEN 'dear' ELSE 'cheap' END AS kind, price IS NULL,
  channel LIKE 'w%', channel IN ('a', 'b', 'c', 'd'), CAST(price AS TEXT), at + INTERVAL '90' MINUTE FROM bids EMIT CHANGES;
SELECT auction, price * (9223372036854775807 + 1) FROM bids EMIT CHANGES;
SELECT * FROM accounts EMIT CHANGES;
SELECT owner, balance FROM accounts WHERE balance < 0 EMIT CHANGES;
SELECT * FROM rates EMIT CHANGES;
SELECT rate FROM rates EMIT CHANGES;
SELECT * FROM cheap WHERE cost > 5 EMIT CHANGES;
SELECT auction, top FROM totals WHERE top > 100 EMIT CHANGES;
SELECT b.auction FROM (SELECT auction FROM dear) AS b EMIT CHANGES;
WITH few AS (SELECT * FROM bids WHERE price < 5) SELECT f.auction FROM few AS f EMIT CHANGES;
