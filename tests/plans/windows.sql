-- Windows, and what closes them.
SELECT auction, window_start, window_end, count(*) AS bids FROM TUMBLE(bids, at, INTERVAL '10' SECOND)
GROUP BY auction, window_start, window_end EMIT CHANGES;
CREATE MATERIALIZED VIEW v AS
SELECT auction, window_start, window_end, count(*) AS bids FROM TUMBLE(bids, at, INTERVAL '10' SECOND)
GROUP BY auction, window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW v WITH (allowed_lateness = '90s') AS
SELECT auction, window_end, count(*) AS bids FROM HOP(bids, at, INTERVAL '2' SECOND, INTERVAL '1' MINUTE)
GROUP BY auction, window_end HAVING count(*) > 3;
SELECT w.auction, w.window_start FROM TUMBLE(bids, at, INTERVAL '1' DAY, INTERVAL '6' HOUR) AS w EMIT CHANGES;
SELECT window_end, price FROM TUMBLE((SELECT * FROM bids WHERE price > 3), at, INTERVAL '1' HOUR) EMIT ON WINDOW CLOSE;
SELECT at, price FROM bids EMIT ON WINDOW CLOSE;
SELECT * FROM (
  SELECT auction, window_end, n, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY n DESC) AS place
  FROM (SELECT auction, window_end, count(*) AS n FROM TUMBLE(bids, at, INTERVAL '10' SECOND) GROUP BY auction, window_end)
) WHERE place <= 3 EMIT ON WINDOW CLOSE;
SELECT window_end, count(*) FROM TUMBLE(clicks, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT CHANGES;
SELECT window_end, count(*) AS n FROM TUMBLE(
  (SELECT at FROM bids UNION ALL SELECT opened FROM auctions), at, INTERVAL '10' SECOND
) GROUP BY window_end EMIT ON WINDOW CLOSE;
SELECT window_end, count(*) AS n FROM TUMBLE(dear, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT CHANGES;

-- The start of a window says as well which one it is.
SELECT window_start, count(*) FROM TUMBLE(bids, at, INTERVAL '10' SECOND) GROUP BY window_start EMIT ON WINDOW CLOSE;
-- CUMULATE and SESSION.
SELECT auction, window_end, count(*) AS bids FROM CUMULATE(bids, at, INTERVAL '1' HOUR, INTERVAL '1' DAY)
GROUP BY auction, window_start, window_end EMIT ON WINDOW CLOSE;
SELECT bidder, window_start, window_end, count(*) AS bids FROM SESSION(bids PARTITION BY bidder, at, INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end EMIT ON WINDOW CLOSE;
SELECT bidder, window_start, window_end, count(*) AS bids FROM SESSION(bids PARTITION BY bidder, at, INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end EMIT CHANGES;
CREATE MATERIALIZED VIEW v WITH (allowed_lateness = '1 minute') AS
SELECT window_start, window_end, max(price) AS top FROM SESSION(bids, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end;
SELECT price, window_end FROM SESSION(bids PARTITION BY bidder, auction, at, INTERVAL '10' SECOND)
WHERE price > 3 AND auction = 7 EMIT FINAL;
SELECT * FROM SESSION(rates PARTITION BY rate, since, INTERVAL '1' HOUR) EMIT CHANGES;
-- Windows over the ends of windows.
SELECT window_start, max(n) AS most FROM TUMBLE((
  SELECT window_end AS till, count(*) AS n FROM TUMBLE(bids, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end
) m, m.till, INTERVAL '1' HOUR) GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
-- Bins of event time close as windows do.
SELECT auction, date_trunc('minute', at) AS minute, count(*) AS bids FROM bids GROUP BY auction, minute EMIT ON WINDOW CLOSE;
SELECT date_bin(INTERVAL '15' MINUTE, at) AS quarter, max(price) AS top FROM bids GROUP BY quarter EMIT CHANGES;
-- Over what a materialized view has of event time.
SELECT window_end, count(*) FROM TUMBLE(dear, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT ON WINDOW CLOSE;
SELECT date_trunc('minute', at) AS minute, count(*) AS n FROM dear GROUP BY minute EMIT ON WINDOW CLOSE;
SELECT auction, at FROM dear EMIT ON WINDOW CLOSE;
SELECT at, count(*) AS n FROM bids GROUP BY at EMIT ON WINDOW CLOSE;
-- By the clock, too.
SELECT window_end, count(*) AS n FROM TUMBLE(bids, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT ON WINDOW CLOSE WITH TIMEOUT INTERVAL '30' SECOND;
SELECT * FROM dear EMIT ON WINDOW CLOSE WITH TIMEOUT '30s';
