-- GROUP BY and DISTINCT.
SELECT count(*) FROM bids EMIT CHANGES;
SELECT count(*), count(price), count(DISTINCT bidder), sum(price), avg(price), min(channel), max(at) FROM bids EMIT CHANGES;
SELECT auction, count(*) FILTER (WHERE price > 10) AS dear, sum(price * 2) AS twice FROM bids GROUP BY auction EMIT CHANGES;
SELECT category % 10 AS digit, sum(reserve) AS reserve, avg(reserve) AS mean, sum(weight) AS weight, avg(category) AS c
FROM auctions GROUP BY category % 10 EMIT CHANGES;
SELECT auction FROM bids GROUP BY auction HAVING count(*) > 10 EMIT CHANGES;
SELECT DISTINCT channel, bidder FROM bids EMIT CHANGES;
SELECT DISTINCT owner FROM accounts EMIT CHANGES;
SELECT bids, count(*) AS auctions FROM totals GROUP BY bids EMIT CHANGES;
SELECT sum(top) AS s FROM totals EMIT CHANGES;
SELECT max(n) FROM (SELECT auction, count(*) AS n FROM bids GROUP BY auction) EMIT CHANGES;
SELECT auction, sum(n) AS n FROM (SELECT auction, bidder, count(*) AS n FROM bids GROUP BY auction, bidder)
GROUP BY auction EMIT CHANGES;
SELECT auction, array_agg(price ORDER BY at DESC, price), string_agg(DISTINCT channel, ', '), median(price) FROM bids
GROUP BY auction EMIT CHANGES;
SELECT bidder, last_value(price ORDER BY at), first_value(price ORDER BY at) IGNORE NULLS, bool_or(price > 10) FROM bids
GROUP BY bidder EMIT CHANGES;
SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY reserve DESC), stddev(weight) FROM auctions EMIT CHANGES;
SELECT channel, bidder, sum(price), GROUPING(channel) FROM bids GROUP BY ROLLUP (channel, bidder) EMIT CHANGES;
SELECT DISTINCT ON (auction) auction, price FROM bids ORDER BY auction, price DESC EMIT CHANGES;
