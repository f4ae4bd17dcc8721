-- Average price by category: over its auctions, the highest bid made while the auction lasted.
SELECT category, avg(highest) AS average
FROM (
  SELECT a.id, a.category, max(b.price) AS highest
  FROM auction AS a
  JOIN bid AS b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
  GROUP BY a.id, a.category
) AS auctions
GROUP BY category
