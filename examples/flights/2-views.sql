-- What is kept up to date. All three views read the same topic, so they share one pipeline: it is
-- read once, and at every moment they add up to the same number of flights.

-- Each hour at each airport, corrected with every departure.
CREATE MATERIALIZED VIEW departures AS
SELECT window_start AS hour, origin,
       count(*) AS flights,
       count(*) FILTER (WHERE departed IS NULL) AS cancelled,
       sum(dep_delay) AS minutes,
       round(avg(dep_delay), 1) AS avg_delay
FROM TUMBLE(flights, happened, INTERVAL '1' HOUR)
GROUP BY window_start, origin
EMIT CHANGES;

-- Those hours joined with the weather of the hour, and summed up by what the sky was like. Both
-- sides of the join change: what an hour gave before is taken back when it is corrected.
CREATE MATERIALIZED VIEW weather_delays AS
SELECT CASE WHEN w.observed IS NULL              THEN 'not observed'
            WHEN w.precip > 0 AND w.temp <= 34   THEN 'snow'
            WHEN w.precip > 0                    THEN 'rain'
            WHEN w.visib < 3                     THEN 'fog'
            WHEN w.wind_speed >= 20              THEN 'strong wind'
            ELSE 'fair' END AS sky,
       count(*) AS hours,
       sum(d.flights) AS flights,
       sum(d.cancelled) AS cancelled,
       round(sum(d.minutes) / CAST(nullif(sum(d.flights - d.cancelled), 0) AS DOUBLE PRECISION), 1) AS avg_delay
FROM departures AS d
LEFT JOIN weather AS w ON w.origin = d.origin AND w.observed = d.hour
GROUP BY sky;

-- How the airlines do.
CREATE MATERIALIZED VIEW carriers AS
SELECT carrier,
       count(*) AS flights,
       count(*) FILTER (WHERE departed IS NULL) AS cancelled,
       round(avg(dep_delay), 1) AS avg_delay
FROM flights
GROUP BY carrier;
