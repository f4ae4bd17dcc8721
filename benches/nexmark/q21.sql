-- Channel ids: of the four channels with a name, and of those that have one in the url.
SELECT auction, bidder, price, channel,
       CASE lower(channel)
         WHEN 'apple' THEN '0'
         WHEN 'google' THEN '1'
         WHEN 'facebook' THEN '2'
         WHEN 'baidu' THEN '3'
         ELSE regexp_replace(url, '.*&channel_id=([^&]*).*', '\1')
       END AS channel_id
FROM bid
WHERE lower(channel) IN ('apple', 'google', 'facebook', 'baidu') OR regexp_like(url, '&channel_id=[^&]')
