-- UNION ALL.
SELECT auction, price FROM bids UNION ALL SELECT id, category FROM auctions EMIT CHANGES;
SELECT auction AS id, 'bid' AS kind FROM bids UNION ALL SELECT id, owner FROM accounts EMIT CHANGES;
SELECT auction FROM bids UNION SELECT id FROM auctions EMIT CHANGES;
