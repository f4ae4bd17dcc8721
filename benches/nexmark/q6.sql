-- Average selling price by seller: of each winning bid and the ten of the seller before it.
SELECT seller, id, avg(price) OVER (
         PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW
       ) AS average
FROM (
  SELECT a.seller, a.id, b.price, b.date_time,
         ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place
  FROM auction AS a
  JOIN bid AS b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
) AS bids
WHERE place <= 1
