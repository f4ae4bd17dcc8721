-- A month of departures looked at from many sides, read from the files in this folder: no Kafka needed.
-- In this folder: weir -f 4-analyses.sql

CREATE SOURCE departures_file (
  id         INT,
  scheduled  TIMESTAMP,
  departed   TIMESTAMP,    -- NULL: cancelled
  dep_delay  INT,          -- minutes, below zero: early
  arr_delay  INT,
  carrier    TEXT,
  flight     INT,
  tailnum    TEXT,         -- the plane
  origin     TEXT,
  dest       TEXT,
  distance   INT,          -- miles
  air_time   INT,          -- minutes
  happened   TIMESTAMP GENERATED ALWAYS AS (coalesce(departed, scheduled)),
  WATERMARK FOR happened AS happened
) WITH (connector = 'file', path = 'flights.ndjson.gz') ENCODE JSON;

CREATE SOURCE weather_file (
  origin      TEXT,
  observed    TIMESTAMP,
  temp        DOUBLE PRECISION,    -- Fahrenheit
  wind_speed  DOUBLE PRECISION,    -- miles an hour
  visib       DOUBLE PRECISION,    -- miles
  WATERMARK FOR observed AS observed
) WITH (connector = 'file', path = 'weather.ndjson.gz') ENCODE JSON;

CREATE SOURCE airlines_file (carrier TEXT, name TEXT)
WITH (connector = 'file', path = 'airlines.ndjson.gz') ENCODE JSON;

CREATE SOURCE airports_file (faa TEXT, name TEXT, lat DOUBLE PRECISION, lon DOUBLE PRECISION)
WITH (connector = 'file', path = 'airports.ndjson.gz') ENCODE JSON;

CREATE SOURCE planes_file (tailnum TEXT, year INT, manufacturer TEXT, model TEXT, seats INT)
WITH (connector = 'file', path = 'planes.ndjson.gz') ENCODE JSON;

-- How late each carrier left in each hour, once the hour is over.
CREATE MATERIALIZED VIEW hourly_delays AS
SELECT carrier, window_start AS hour, count(*) AS flights,
       count(*) FILTER (WHERE departed IS NULL) AS cancelled,
       avg(dep_delay) AS mean_delay, max(dep_delay) AS worst
FROM TUMBLE(departures_file, happened, INTERVAL '1' HOUR)
GROUP BY carrier, window_start, window_end
EMIT ON WINDOW CLOSE;

-- The same day by day and all day long: how many had left by each hour.
CREATE MATERIALIZED VIEW days_so_far AS
SELECT origin, window_start AS day, window_end AS until, count(*) AS flights, sum(distance) AS miles
FROM CUMULATE(departures_file, happened, INTERVAL '1' HOUR, INTERVAL '1' DAY)
WHERE departed IS NOT NULL
GROUP BY origin, window_start, window_end
EMIT ON WINDOW CLOSE;

-- Busy times of the airports: departures in any three hours, begun every hour.
CREATE MATERIALIZED VIEW rush_hours AS
SELECT origin, window_start, window_end, flights FROM (
  SELECT origin, window_start, window_end, flights,
         ROW_NUMBER() OVER (PARTITION BY origin ORDER BY flights DESC, window_start) AS place
  FROM (
    SELECT origin, window_start, window_end, count(*) AS flights
    FROM HOP(departures_file, happened, INTERVAL '1' HOUR, INTERVAL '3' HOUR)
    GROUP BY origin, window_start, window_end
  ) AS windows
) AS ranked
WHERE place <= 5;

-- Spells of planes: departures from New York that follow each other within a day and a half.
CREATE MATERIALIZED VIEW plane_spells AS
SELECT tailnum, window_start AS first_departure, count(*) AS flights, sum(air_time) AS minutes
FROM SESSION((SELECT * FROM departures_file WHERE departed IS NOT NULL AND tailnum IS NOT NULL) d
             PARTITION BY d.tailnum, d.happened, INTERVAL '36' HOUR)
GROUP BY tailnum, window_start, window_end
EMIT ON WINDOW CLOSE;

-- Minutes without a departure at each airport end its rush: how long they were.
CREATE MATERIALIZED VIEW rushes AS
SELECT origin, window_start, window_end, count(*) AS flights
FROM SESSION(departures_file PARTITION BY origin, happened, INTERVAL '20' MINUTE)
GROUP BY origin, window_start, window_end
HAVING count(*) >= 50
EMIT ON WINDOW CLOSE;

-- The ten routes with the most departures.
CREATE MATERIALIZED VIEW top_routes AS
SELECT origin, dest, count(*) AS flights, avg(arr_delay) AS mean_delay
FROM departures_file
GROUP BY origin, dest
ORDER BY flights DESC, origin, dest
LIMIT 10;

-- The three worst delays of each day.
CREATE MATERIALIZED VIEW worst_of_day AS
SELECT day, place, carrier, flight, dep_delay FROM (
  SELECT CAST(happened AS DATE) AS day, carrier, flight, dep_delay,
         ROW_NUMBER() OVER (PARTITION BY CAST(happened AS DATE) ORDER BY dep_delay DESC NULLS LAST, id) AS place
  FROM departures_file
) AS ranked
WHERE place <= 3;

-- Delays by what the sky was like in the hour of departure.
CREATE MATERIALIZED VIEW sky_delays AS
SELECT CASE WHEN w.observed IS NULL THEN 'not observed'
            WHEN w.visib < 3        THEN 'fog'
            WHEN w.wind_speed >= 20 THEN 'strong wind'
            ELSE 'fair' END AS sky,
       count(*) AS flights, avg(d.dep_delay) AS mean_delay
FROM departures_file AS d
LEFT JOIN weather_file AS w ON w.origin = d.origin AND w.observed = date_trunc('hour', d.happened)
GROUP BY sky;

-- Each departure with the weather that was last observed at its airport before it.
CREATE MATERIALIZED VIEW weather_at_departure AS
SELECT d.id, d.carrier, d.flight, d.origin, d.happened, d.dep_delay, w.observed, w.temp, w.wind_speed, w.visib
FROM departures_file AS d
LEFT JOIN weather_file FOR SYSTEM_TIME AS OF d.happened AS w ON w.origin = d.origin;

-- How the makers' planes are used; of many planes nobody knows the maker.
CREATE MATERIALIZED VIEW makers AS
SELECT p.manufacturer, count(*) AS flights, count(DISTINCT d.tailnum) AS planes, sum(p.seats) AS seats_flown,
       sum(d.air_time) AS minutes
FROM departures_file AS d
LEFT JOIN planes_file AS p ON p.tailnum = d.tailnum
WHERE d.departed IS NOT NULL
GROUP BY p.manufacturer;

-- The airlines by name: late is a quarter of an hour.
CREATE MATERIALIZED VIEW airlines AS
SELECT a.name, count(*) AS flights, count(*) FILTER (WHERE d.dep_delay >= 15) AS late,
       count(DISTINCT d.dest) AS destinations
FROM departures_file AS d
JOIN airlines_file AS a ON a.carrier = d.carrier
GROUP BY a.name;

-- Destinations that are on no list of airports.
CREATE MATERIALIZED VIEW unlisted AS
SELECT d.dest, count(*) AS flights
FROM departures_file AS d
LEFT JOIN airports_file AS p ON p.faa = d.dest
WHERE p.faa IS NULL
GROUP BY d.dest;

-- Quick turns: a plane that left New York twice within five hours, and whether it had been late before.
CREATE MATERIALIZED VIEW quick_turns AS
SELECT a.tailnum, a.flight AS first_flight, b.flight AS next_flight, a.dep_delay AS first_delay,
       b.dep_delay AS next_delay
FROM departures_file AS a
JOIN departures_file AS b
  ON a.tailnum = b.tailnum AND b.departed BETWEEN a.departed + INTERVAL '1' MINUTE AND a.departed + INTERVAL '5' HOUR;

-- How planes are used: the hours between a departure from New York and the one before of the same plane, and
-- the miles of its last five.
CREATE MATERIALIZED VIEW plane_use AS
SELECT tailnum, flight, departed,
       extract(epoch FROM departed - LAG(departed) OVER w) / 3600 AS hours_since,
       sum(distance) OVER (w ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS miles_of_five
FROM departures_file
WHERE departed IS NOT NULL AND tailnum IS NOT NULL
WINDOW w AS (PARTITION BY tailnum ORDER BY departed, id);
