-- Top ten: the highest bids of each auction, of two as high the earlier first.
SELECT auction, bidder, price, channel, url, date_time, extra, place
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC, date_time) AS place
  FROM bid
) AS bids
WHERE place <= 10
