-- Local items: who in Oregon, Idaho or California sells in category 10, and what. Both sides are kept
-- for ever, as an auction may come long after its seller and (rarely) before.
SELECT p.name, p.city, p.state, a.id
FROM auction AS a
JOIN person AS p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')
