-- Hot items: in every window of 10 s, begun every 2 s, the auctions with the most bids.
WITH counts AS (
  SELECT auction, count(*) AS num, window_start, window_end
  FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
  GROUP BY auction, window_start, window_end
)
SELECT c.auction, c.num, c.window_start, c.window_end
FROM counts AS c
JOIN (
  SELECT max(num) AS most, window_start, window_end
  FROM counts
  GROUP BY window_start, window_end
) AS m ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.most
EMIT ON WINDOW CLOSE
