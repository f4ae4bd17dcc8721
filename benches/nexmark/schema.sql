-- The three kinds of Nexmark's events: three sources, one stream of events.
-- ${options} is filled in by the benchmark and must be the same for all three, as in
-- events = '10000000', rate = '1000000', splits = '2'.

CREATE SOURCE person (
  id            BIGINT,
  name          TEXT,
  email_address TEXT,
  credit_card   TEXT,
  city          TEXT,
  state         TEXT,
  date_time     TIMESTAMP(6),
  extra         TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', table = 'person', ${options});

CREATE SOURCE auction (
  id          BIGINT,
  item_name   TEXT,
  description TEXT,
  initial_bid BIGINT,
  reserve     BIGINT,
  date_time   TIMESTAMP(6),
  expires     TIMESTAMP(6),
  seller      BIGINT,
  category    BIGINT,
  extra       TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', table = 'auction', ${options});

CREATE SOURCE bid (
  auction   BIGINT,
  bidder    BIGINT,
  price     BIGINT,
  channel   TEXT,
  url       TEXT,
  date_time TIMESTAMP(6),
  extra     TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (connector = 'nexmark', table = 'bid', ${options});

-- What q13 looks values up in: 10,000 rows.
CREATE SOURCE side_input (key BIGINT, value TEXT) WITH (
  connector = 'datagen', rows_per_second = 0, number_of_rows = 10000,
  fields.key.kind = 'sequence', fields.key.start = 0, fields.key.end = 9999, fields.value.length = 20
);
