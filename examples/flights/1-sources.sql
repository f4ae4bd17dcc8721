-- What comes in. Of these files the demo changes one thing: the brokers' address.

-- Every departure from New York's three airports, as it happens; the topic has four partitions.
-- No departure is reported more than five minutes after a later one.
CREATE SOURCE flights (
  carrier    TEXT,
  flight     INT,
  origin     TEXT,
  dest       TEXT,
  scheduled  TIMESTAMP,
  departed   TIMESTAMP,    -- NULL: cancelled
  dep_delay  INT,          -- minutes, below zero: early
  happened   TIMESTAMP GENERATED ALWAYS AS (coalesce(departed, scheduled)),
  WATERMARK FOR happened AS happened - INTERVAL '5' MINUTE
) WITH (
  connector = 'kafka',
  topic = 'weir-demo-flights',
  properties.bootstrap.servers = 'localhost:9092',
  scan.startup.mode = 'latest'
) FORMAT PLAIN ENCODE JSON;

-- The weather at each airport, once an hour.
CREATE SOURCE weather (
  origin      TEXT,
  observed    TIMESTAMP,
  temp        DOUBLE PRECISION,    -- Fahrenheit
  wind_speed  DOUBLE PRECISION,    -- miles an hour
  precip      DOUBLE PRECISION,    -- inches
  visib       DOUBLE PRECISION,    -- miles
  WATERMARK FOR observed AS observed
) WITH (
  connector = 'kafka',
  topic = 'weir-demo-weather',
  properties.bootstrap.servers = 'localhost:9092',
  scan.startup.mode = 'latest'
) FORMAT PLAIN ENCODE JSON;

-- What Weir keeps itself: names of the airlines.
CREATE TABLE airlines (carrier TEXT PRIMARY KEY, name TEXT NOT NULL);

INSERT INTO airlines VALUES
  ('9E', 'Endeavor Air'),      ('AA', 'American Airlines'), ('AS', 'Alaska Airlines'),   ('B6', 'JetBlue Airways'),
  ('DL', 'Delta Air Lines'),   ('EV', 'ExpressJet'),        ('F9', 'Frontier Airlines'), ('FL', 'AirTran Airways'),
  ('HA', 'Hawaiian Airlines'), ('MQ', 'Envoy Air'),         ('OO', 'SkyWest Airlines'),  ('UA', 'United Air Lines'),
  ('US', 'US Airways'),        ('VX', 'Virgin America'),    ('WN', 'Southwest Airlines'), ('YV', 'Mesa Airlines');
