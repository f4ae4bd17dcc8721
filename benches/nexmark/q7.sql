-- Highest bid: in every window of 10 s the bids with the highest price. The bids of a window's time
-- are those that TUMBLE puts into it.
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra, b.window_end
FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND) AS b
JOIN (
  SELECT max(price) AS highest, window_start, window_end
  FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND)
  GROUP BY window_start, window_end
) AS m ON b.window_start = m.window_start AND b.window_end = m.window_end AND b.price = m.highest
EMIT ON WINDOW CLOSE
