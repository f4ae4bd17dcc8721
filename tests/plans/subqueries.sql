-- Subqueries and set operations.
SELECT auction FROM bids WHERE channel IN (SELECT currency FROM rates) EMIT CHANGES;
SELECT a FROM lines WHERE b NOT IN (SELECT channel FROM bids) EMIT CHANGES;
SELECT currency FROM rates WHERE currency NOT IN (SELECT currency FROM rates WHERE rate > 1) EMIT CHANGES;
SELECT a FROM lines AS l WHERE EXISTS (SELECT 1 FROM bids AS b WHERE b.channel = l.b AND b.price > l.a) EMIT CHANGES;
SELECT a FROM lines WHERE EXISTS (SELECT 1 FROM rates) EMIT CHANGES;
SELECT a FROM lines AS l WHERE a > 3 OR NOT EXISTS (SELECT 1 FROM rates AS r WHERE r.currency = l.b) EMIT CHANGES;
SELECT a, b IN (SELECT currency FROM rates) AS known FROM lines EMIT CHANGES;
SELECT auction FROM bids WHERE price > (SELECT avg(top) FROM totals) EMIT CHANGES;
SELECT a, (SELECT count(*) FROM bids AS b WHERE b.channel = l.b) AS n FROM lines AS l EMIT CHANGES;
SELECT a, (SELECT rate FROM rates AS r WHERE r.currency = l.b) AS rate FROM lines AS l EMIT CHANGES;
SELECT l.a, t.n FROM lines AS l, LATERAL (SELECT count(*) AS n FROM bids AS b WHERE b.channel = l.b) AS t EMIT CHANGES;
SELECT a FROM lines INTERSECT SELECT auction FROM bids EMIT CHANGES;
SELECT a FROM lines EXCEPT ALL SELECT auction FROM bids EMIT CHANGES;
SELECT l.a, v.x FROM lines AS l JOIN (VALUES (1, 'one'), (2, 'two')) AS v (n, x) ON l.a = v.n EMIT CHANGES;
SELECT a, b FROM lines UNION ALL SELECT 1, 'one' EMIT CHANGES;
