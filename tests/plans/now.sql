-- now() in filters.
SELECT auction, price FROM bids WHERE at > now() - INTERVAL '1 hour' EMIT CHANGES;
SELECT auction, count(*) FROM bids WHERE at BETWEEN now() - INTERVAL '1 day' AND now() AND price > 3 GROUP BY auction EMIT CHANGES;
SELECT auction FROM recent EMIT CHANGES;
SELECT auction FROM bids WHERE now() > at OR price > 3 EMIT CHANGES;
-- Values that are made once.
SELECT auction, now() AS seen, random() AS r, uuid() AS u, random() AS s FROM bids EMIT CHANGES;
SELECT currency, rate, current_timestamp AS seen, current_date AS day FROM rates EMIT CHANGES;
SELECT channel, max(now()) AS latest FROM bids GROUP BY channel EMIT CHANGES;
SELECT window_start, count(*) AS n FROM TUMBLE((SELECT *, now() AS seen FROM bids) AS b, b.seen, INTERVAL '10' SECOND) GROUP BY window_start EMIT CHANGES;
SELECT auction, at, now() AS seen FROM bids EMIT ON WINDOW CLOSE;
SELECT window_end, count(*) AS n, now() AS told FROM TUMBLE(bids, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT ON WINDOW CLOSE;
SELECT auction, top FROM totals WHERE random() < 0.5 EMIT CHANGES;
SELECT now() AS at FROM lines EMIT CHANGES;
SELECT currency FROM rates WHERE since >= current_date EMIT CHANGES;
SELECT auction, at FROM bids WHERE CAST(at AS DATE) = current_date EMIT CHANGES;
