-- What goes out: the last state of each airline as a record of its own, keyed by the airline.
CREATE SINK carriers_out FROM carriers WITH (
  connector = 'kafka',
  topic = 'weir-demo-carriers',
  properties.bootstrap.servers = 'localhost:9092',
  key = 'carrier'
) FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;

-- And the proof: the topic read back, last value by key, must give the same rows.
CREATE SOURCE carriers_topic (
  carrier    TEXT PRIMARY KEY,
  flights    BIGINT,
  cancelled  BIGINT,
  avg_delay  DOUBLE PRECISION
) WITH (
  connector = 'kafka',
  topic = 'weir-demo-carriers',
  properties.bootstrap.servers = 'localhost:9092',
  scan.startup.mode = 'latest'
) FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;

CREATE MATERIALIZED VIEW carriers_back AS SELECT * FROM carriers_topic;
