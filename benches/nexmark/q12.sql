-- Windows of processing time: how many bids of each bidder came in every 10 s by the clock.
SELECT bidder, count(*) AS bids, window_start, window_end
FROM TUMBLE((SELECT *, now() AS p_time FROM bid) AS b, b.p_time, INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end
