-- Window functions.
SELECT auction, price, LAG(price) OVER (PARTITION BY auction ORDER BY at) AS before FROM bids EMIT CHANGES;
SELECT auction, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY at) AS n, RANK() OVER (ORDER BY price DESC) FROM bids EMIT CHANGES;
SELECT auction, sum(price) FILTER (WHERE bidder > 3) OVER (PARTITION BY auction % 10 ORDER BY at RANGE INTERVAL '1' HOUR PRECEDING) FROM bids EMIT CHANGES;
SELECT auction, first_value(channel) IGNORE NULLS OVER w, count(*) OVER w FROM bids WINDOW w AS (ORDER BY price ROWS 2 PRECEDING) EMIT CHANGES;
SELECT auction, bids, bids * 100 / sum(bids) OVER () AS share FROM totals EMIT CHANGES;
SELECT auction, price FROM bids QUALIFY RANK() OVER (PARTITION BY auction ORDER BY price) <= 3 EMIT CHANGES;
SELECT auction, price FROM bids QUALIFY DENSE_RANK() OVER (ORDER BY price) = 2 EMIT CHANGES;
SELECT * FROM (SELECT auction, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY at) AS n FROM bids) WHERE n > 3 EMIT CHANGES;
SELECT auction, at, price - LAG(price, 2) OVER (PARTITION BY auction ORDER BY at) AS move FROM bids EMIT ON WINDOW CLOSE;
SELECT auction, at, sum(price) OVER (ORDER BY at) AS total, avg(price) OVER (PARTITION BY auction ORDER BY at ROWS 5 PRECEDING) FROM bids EMIT ON WINDOW CLOSE;
SELECT window_end, auction, LEAD(price) OVER (PARTITION BY window_end ORDER BY at) AS next FROM TUMBLE(bids, at, INTERVAL '1' MINUTE) EMIT ON WINDOW CLOSE;
