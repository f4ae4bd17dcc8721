"""Reads a push query until it is killed."""

import sys

import adbc_driver_flightsql.dbapi as flightsql

with flightsql.connect(sys.argv[1], autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT n + 1 AS next FROM ticks EMIT CHANGES")
        batches = cursor.fetch_record_batch()
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            print(f"reading, {rows} rows", flush=True)
