-- Joins as of a time.
SELECT b.auction, a.seller FROM bids AS b ASOF JOIN auctions AS a MATCH_CONDITION (b.at >= a.opened) ON b.auction = a.id EMIT CHANGES;
SELECT b.auction, a.seller FROM bids AS b ASOF LEFT JOIN auctions AS a MATCH_CONDITION (b.at > a.opened) ON b.auction = a.id
EMIT ON WINDOW CLOSE;
SELECT b.auction, a.seller FROM bids AS b ASOF LEFT JOIN auctions AS a MATCH_CONDITION (b.at < a.opened) ON a.id = b.auction
EMIT CHANGES;
SELECT t.auction, o.top FROM totals AS t ASOF JOIN totals AS o MATCH_CONDITION (t.top <= o.bids + 1) WHERE o.top > 3 EMIT CHANGES;
SELECT c.page, l.b FROM clicks AS c ASOF JOIN (SELECT * FROM lines WHERE b <> 'x') AS l MATCH_CONDITION (c.bidder >= l.a)
EMIT CHANGES;
SELECT window_end, count(*) AS n, sum(reserve) AS reserve FROM TUMBLE((
  SELECT b.at, a.reserve FROM bids AS b ASOF JOIN auctions AS a MATCH_CONDITION (b.at >= a.opened) ON b.auction = a.id
) AS x, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT ON WINDOW CLOSE;
SELECT b.auction, a.seller FROM bids AS b JOIN auctions FOR SYSTEM_TIME AS OF b.at AS a ON b.auction = a.id EMIT CHANGES;
SELECT b.auction, p.price FROM bids AS b LEFT JOIN prices FOR SYSTEM_TIME AS OF b.at AS p ON b.auction = p.item EMIT CHANGES;
SELECT a.owner, p.price FROM accounts AS a JOIN prices FOR SYSTEM_TIME AS OF a.since AS p ON a.id = p.item EMIT CHANGES;
SELECT b.auction, o.seller FROM bids AS b JOIN open FOR SYSTEM_TIME AS OF b.at AS o ON o.id = b.auction EMIT CHANGES;
SELECT b.auction, b.price * r.rate AS price FROM bids AS b JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r
  ON b.channel = r.currency AND b.price > 100 EMIT CHANGES;
SELECT t.auction, a.owner FROM totals AS t LEFT JOIN accounts FOR SYSTEM_TIME AS OF PROCTIME() AS a ON t.auction = a.id
EMIT CHANGES;
SELECT window_end, count(*) AS n FROM TUMBLE((
  SELECT b.at, a.seller FROM bids AS b JOIN auctions FOR SYSTEM_TIME AS OF PROCTIME() AS a ON b.auction = a.id
) AS x, at, INTERVAL '10' SECOND) GROUP BY window_end EMIT ON WINDOW CLOSE;
