-- The first rows of an order.
SELECT auction, price FROM bids ORDER BY price DESC LIMIT 10 EMIT CHANGES;
SELECT auction FROM bids ORDER BY price DESC NULLS LAST, at LIMIT 10 OFFSET 5 EMIT CHANGES;
SELECT auction, bids FROM totals ORDER BY bids DESC LIMIT 3 EMIT CHANGES;
SELECT * FROM totals LIMIT 3 EMIT CHANGES;
SELECT auction, bidder, price FROM (
  SELECT auction, bidder, price, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS n FROM bids
) WHERE n <= 3 EMIT CHANGES;
SELECT auction, n FROM (
  SELECT auction, price, ROW_NUMBER() OVER (PARTITION BY auction % 10 ORDER BY price * 2) AS n FROM bids
) WHERE n < 3 AND price > 5 EMIT CHANGES;
SELECT count(*) FROM (SELECT * FROM bids ORDER BY price LIMIT 5) EMIT CHANGES;
-- The first by event time.
SELECT auction, price, at FROM bids QUALIFY ROW_NUMBER() OVER (PARTITION BY auction ORDER BY at) = 1 EMIT ON WINDOW CLOSE;
SELECT auction, price, at FROM bids ORDER BY at LIMIT 3 EMIT ON WINDOW CLOSE;
