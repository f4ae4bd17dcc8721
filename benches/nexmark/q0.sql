-- Pass-through: every bid as it is, without channel and url.
SELECT auction, bidder, price, date_time, extra
FROM bid
