-- Joins.
SELECT b.auction, b.price, a.seller FROM bids AS b JOIN auctions AS a ON b.auction = a.id EMIT CHANGES;
SELECT b.auction, b.price * r.rate AS price FROM bids AS b LEFT JOIN rates AS r ON b.channel = r.currency AND b.price > 100
EMIT CHANGES;
SELECT r.currency, b.price FROM bids AS b RIGHT JOIN rates AS r ON b.channel = r.currency EMIT CHANGES;
SELECT t.auction, t.bids, a.owner FROM totals AS t JOIN accounts AS a ON t.auction = a.id EMIT CHANGES;
SELECT t.auction, r.rate FROM totals AS t LEFT JOIN rates AS r ON CAST(t.bids AS TEXT) = r.currency EMIT CHANGES;
SELECT x.auction, y.auction AS other FROM totals AS x JOIN totals AS y ON x.bids = y.bids AND x.auction < y.auction EMIT CHANGES;
SELECT t.auction, s.total FROM totals AS t CROSS JOIN (SELECT sum(bids) AS total FROM totals) AS s EMIT CHANGES;
SELECT x.a, y.b FROM lines AS x JOIN lines AS y ON x.a IS NOT DISTINCT FROM y.a EMIT CHANGES;
SELECT b.auction, a.seller FROM bids AS b, auctions AS a WHERE b.auction = a.id AND a.category = 10 EMIT CHANGES;
SELECT p.bidder, p.window_end, q.n FROM
  (SELECT bidder, window_end FROM TUMBLE(bids, at, INTERVAL '10' SECOND) GROUP BY bidder, window_end) AS p
  JOIN (SELECT seller, window_end, count(*) AS n FROM TUMBLE(auctions, opened, INTERVAL '10' SECOND)
    GROUP BY seller, window_end) AS q
  ON p.bidder = q.seller AND p.window_end = q.window_end
EMIT ON WINDOW CLOSE;
WITH busy AS (SELECT auction, count(*) AS n FROM bids GROUP BY auction HAVING count(*) > 10)
SELECT x.auction, x.n, y.n AS other FROM busy AS x JOIN busy AS y ON x.auction = y.auction EMIT CHANGES;
SELECT b.auction, a.seller FROM bids AS b FULL JOIN auctions AS a ON b.auction = a.id AND b.price > a.reserve EMIT CHANGES;
SELECT b.auction FROM bids AS b LEFT JOIN lines AS l ON b.auction IS NOT DISTINCT FROM l.a AND b.channel = l.b EMIT CHANGES;
SELECT r.currency, l.b FROM rates AS r RIGHT JOIN lines AS l ON r.rate > l.a EMIT CHANGES;
SELECT b.auction, a.seller FROM bids AS b JOIN auctions AS a
  ON b.auction = a.id AND b.at BETWEEN a.opened AND a.opened + INTERVAL '1' HOUR EMIT CHANGES;
SELECT b.auction, b.at FROM bids AS b JOIN auctions AS a
  ON b.auction = a.id AND b.at BETWEEN a.opened AND a.opened + INTERVAL '1' HOUR EMIT ON WINDOW CLOSE;
SELECT b.auction, a.seller FROM bids AS b LEFT JOIN auctions AS a ON b.auction = a.id AND b.at >= a.opened EMIT CHANGES;
