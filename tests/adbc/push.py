"""Push queries by ADBC: rows come as they change, batch by batch, until the client has enough."""

import sys

import adbc_driver_flightsql.dbapi as flightsql

with flightsql.connect(sys.argv[1], autocommit=True) as writer, flightsql.connect(
    sys.argv[1], autocommit=True
) as reader:
    with writer.cursor() as cursor:
        cursor.execute("CREATE TABLE bids (id BIGINT PRIMARY KEY, auction TEXT, price BIGINT)")
        cursor.execute("INSERT INTO bids VALUES (1, 'lamp', 10)")

    # The changes of a query, with the weight of each row behind it.
    with reader.cursor() as push, writer.cursor() as cursor:
        push.execute("SELECT auction, max(price) AS top FROM bids GROUP BY auction EMIT CHANGES")
        batches = push.fetch_record_batch()
        assert batches.schema.names == ["auction", "top", "weir_weight"], batches.schema
        state = {}

        def read_until(expected):
            while state != expected:
                for row in batches.read_next_batch().to_pylist():
                    key = (row["auction"], row["top"])
                    state[key] = state.get(key, 0) + row["weir_weight"]
                    if state[key] == 0:
                        del state[key]

        read_until({("lamp", 10): 1})
        cursor.execute("INSERT INTO bids VALUES (2, 'lamp', 15), (3, 'chair', 5)")
        read_until({("lamp", 15): 1, ("chair", 5): 1})
        cursor.execute("DELETE FROM bids WHERE id = 2")
        read_until({("lamp", 10): 1, ("chair", 5): 1})

        # It goes on until it is cancelled from here.
        push.adbc_cancel()
        try:
            while True:
                batches.read_next_batch()
        except StopIteration:
            raise AssertionError("a cancelled query ended as if there were no more")
        except Exception as error:
            assert "cancel" in str(error).lower(), error

    # The connection goes on after it. A LIMIT ends a push by itself.
    with reader.cursor() as push:
        push.execute("SELECT id FROM bids EMIT CHANGES LIMIT 2")
        assert len(push.fetchall()) == 2

    # A cursor that is closed in the middle ends its query, too.
    with reader.cursor() as push:
        push.execute("SELECT id + 1 AS next FROM bids EMIT CHANGES")
        assert push.fetchone()[0] in (2, 4)

    # A view's changes by epoch.
    with writer.cursor() as cursor, reader.cursor() as push:
        cursor.execute("CREATE MATERIALIZED VIEW tops AS SELECT auction, max(price) AS top FROM bids GROUP BY auction")
        cursor.execute("SELECT * FROM tops")
        assert sorted(cursor.fetchall()) == [("chair", 5), ("lamp", 10)]
        push.execute("SUBSCRIBE TO tops")
        batches = push.fetch_record_batch()
        assert batches.schema.names == ["auction", "top", "weir_epoch", "weir_weight"], batches.schema
        rows = []
        while len(rows) < 2:
            rows += [row for row in batches.read_next_batch().to_pylist() if row["weir_weight"]]
        assert sorted(row["auction"] for row in rows) == ["chair", "lamp"], rows
        assert len({row["weir_epoch"] for row in rows}) == 1, rows
