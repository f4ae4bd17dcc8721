"""Statements by ADBC: DDL, parameters, prepared statements, Arrow results, errors."""

import datetime
import decimal
import sys

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow
import pyarrow.compute


def expect_error(cursor, kinds, words, sql, parameters=None):
    try:
        cursor.execute(sql, parameters)
        cursor.fetchall()
    except kinds as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in: {error}"
        return
    raise AssertionError(f"no error: {sql}")


def tables_and_parameters(connection):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT, born DATE, height DOUBLE PRECISION,"
            " balance DECIMAL(12, 2), seen TIMESTAMP, photo BYTEA, active BOOLEAN)"
        )
        ada = (
            1,
            "Ada",
            datetime.date(1815, 12, 10),
            1.65,
            decimal.Decimal("12.50"),
            datetime.datetime(2024, 2, 29, 12, 30, 15, 123456),
            b"\x00\xff",
            True,
        )
        cursor.execute("INSERT INTO people VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", ada)
        assert cursor.rowcount == 1, cursor.rowcount
        cursor.execute("INSERT INTO people (id, name) VALUES (2, 'Bo'), (3, NULL)")
        assert cursor.rowcount == 2, cursor.rowcount
        cursor.execute("SELECT * FROM people WHERE id = 1")
        assert cursor.fetchall() == [ada]
        assert [column[0] for column in cursor.description][:2] == ["id", "name"]
        cursor.execute("SELECT name, born FROM people WHERE id > $1 ORDER BY id", (1,))
        assert cursor.fetchall() == [("Bo", None), (None, None)]


def many(connection):
    with connection.cursor() as cursor:
        rows = [(1000 + i, f"person {i}") for i in range(100)]
        cursor.executemany("INSERT INTO people (id, name) VALUES ($1, $2)", rows)
        assert cursor.rowcount == 100, cursor.rowcount
        batch = pyarrow.table({"id": range(2000, 2900), "name": [f"arrow {i}" for i in range(900)]})
        cursor.executemany("INSERT INTO people (id, name) VALUES ($1, $2)", batch)
        assert cursor.rowcount == 900, cursor.rowcount
        cursor.execute("SELECT count(*), min(id), max(id) FROM people")
        assert cursor.fetchone() == (1003, 1, 2899)
        # All rows or none.
        try:
            cursor.executemany("INSERT INTO people (id, name) VALUES ($1, $2)", [(5000, "new"), (1, "Ada again")])
        except flightsql.Error as error:
            assert "(id) = (1)" in str(error), error
        else:
            raise AssertionError("a key twice")
        cursor.execute("SELECT count(*) FROM people")
        assert cursor.fetchone() == (1003,)


def arrow(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, name FROM people ORDER BY id")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 1003
        assert table.schema.field("id").type == pyarrow.int64(), table.schema
        assert table.schema.field("name").type == pyarrow.string(), table.schema
        assert table.column("name").to_pylist()[:3] == ["Ada", "Bo", None]
        # Far more than one message of gRPC.
        cursor.execute(
            "SELECT a.id, repeat('x', 500) AS text FROM people AS a CROSS JOIN (SELECT id FROM people LIMIT 40) AS b"
        )
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 1003 * 40
        assert pyarrow.compute.sum(pyarrow.compute.utf8_length(table.column("text"))).as_py() == 1003 * 40 * 500
        cursor.execute("SELECT id FROM people WHERE id < 0")
        assert cursor.fetch_arrow_table().num_rows == 0


def prepared(connection):
    with connection.cursor() as cursor:
        schema = cursor.adbc_prepare("SELECT name FROM people WHERE id = $1 AND active = $2")
        assert [field.type for field in schema] == [pyarrow.int64(), pyarrow.bool_()], schema
        # The statement stays prepared while its text stays the same.
        for key, names in [(1, [("Ada",)]), (2, []), (1, [("Ada",)])]:
            cursor.execute("SELECT name FROM people WHERE id = $1 AND active = $2", (key, True))
            assert cursor.fetchall() == names
        cursor.execute("UPDATE people SET active = $2 WHERE id >= $1", (2800, False))
        assert cursor.rowcount == 100, cursor.rowcount
        cursor.execute("SELECT count(*) FROM people WHERE NOT active")
        assert cursor.fetchone() == (100,)
        schema = cursor.adbc_execute_schema("SELECT id, name FROM people")
        assert schema.names == ["id", "name"], schema


def typed(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT ?", ("word",))
        assert cursor.fetchall() == [("word",)]
        cursor.execute("SELECT CAST(? AS TEXT[]) AS words", (["a", None],))
        assert cursor.fetchall() == [(["a", None],)]
        cursor.execute("SELECT id FROM people WHERE name = ANY(?) ORDER BY id", (["Bo", "Ada", "Cy"],))
        assert cursor.fetchall() == [(1,), (2,)]
        cursor.execute("CREATE TABLE tokens (id UUID PRIMARY KEY, word TEXT)")
        uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
        cursor.execute("INSERT INTO tokens VALUES (?, 'x')", (uuid,))
        cursor.execute("SELECT word FROM tokens WHERE id = ?", (uuid.upper(),))
        assert cursor.fetchall() == [("x",)]
        expect_error(cursor, flightsql.Error, ["$1", "UUID"], "SELECT word FROM tokens WHERE id = ?", ("x",))
        expect_error(cursor, flightsql.Error, ["parameters stand in SELECT"], "CREATE VIEW w AS SELECT ? AS a", ("x",))
        # Again, since the schema of another answer must not stick.
        cursor.execute("SELECT ?", ("other",))
        assert cursor.fetchall() == [("other",)]


def conflicts(address):
    with flightsql.connect(address) as one, flightsql.connect(address, autocommit=True) as two:
        with one.cursor() as cursor, two.cursor() as other:
            other.execute("CREATE TABLE stock (id BIGINT PRIMARY KEY, n BIGINT)")
            other.execute("INSERT INTO stock VALUES (1, 0)")
            cursor.execute("UPDATE stock SET n = n + 1")
            other.execute("UPDATE stock SET n = n + 10")
            expect_error(cursor, flightsql.Error, ["run it again"], "COMMIT")
            # The transaction is over, and the connection goes on with the next.
            cursor.execute("UPDATE stock SET n = n + 1")
            other.execute("SELECT n FROM stock")
            assert other.fetchall() == [(10,)]
            one.commit()
            cursor.execute("SELECT n FROM stock")
            assert cursor.fetchall() == [(11,)]
            # The driver's own commit() leaves it without a transaction when it fails: nothing more is committed.
            cursor.execute("UPDATE stock SET n = n + 1")
            other.execute("UPDATE stock SET n = n + 10")
            for _ in range(2):
                try:
                    one.commit()
                except flightsql.Error:
                    cursor.execute("UPDATE stock SET n = n + 1")
                else:
                    raise AssertionError("two have changed a row")
            other.execute("SELECT n FROM stock")
            assert other.fetchall() == [(21,)]


def views(connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE MATERIALIZED VIEW sums AS SELECT active, count(*) AS n FROM people GROUP BY active")
        cursor.execute("INSERT INTO people (id, active) VALUES (9000, true)")
        # A SELECT waits for the session's own writes.
        cursor.execute("SELECT n FROM sums WHERE active")
        assert cursor.fetchall() == [(2,)]
        cursor.execute("DELETE FROM people WHERE id = 9000")
        cursor.execute("SELECT n FROM sums WHERE active")
        assert cursor.fetchall() == [(1,)]


def errors(connection):
    with connection.cursor() as cursor:
        syntax = flightsql.ProgrammingError
        expect_error(cursor, syntax, ["people2", "\n", "^"], "SELECT id\nFROM people2")
        expect_error(cursor, syntax, ["SELEC"], "SELEC 1")
        expect_error(cursor, flightsql.Error, ["already", "1"], "INSERT INTO people (id) VALUES (1)")
        expect_error(cursor, syntax, ["$1", "BIGINT"], "SELECT name FROM people WHERE id = $1", (1.5,))
        expect_error(cursor, syntax, ["2 parameters"], "SELECT $1 + $2 + id FROM people", (1,))
        expect_error(cursor, flightsql.Error, ["out of range"], "SELECT id + 9223372036854775807 FROM people")
        # Nothing of it broke the session.
        cursor.execute("SELECT count(*) FROM people")
        assert cursor.fetchone() == (1003,)


with flightsql.connect(sys.argv[1], autocommit=True) as connection:
    tables_and_parameters(connection)
    many(connection)
    arrow(connection)
    prepared(connection)
    typed(connection)
    views(connection)
    errors(connection)
conflicts(sys.argv[1])
# Name and password may be given; there is nothing yet that they would open.
with flightsql.connect(sys.argv[1], db_kwargs={"username": "ada", "password": "x"}, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
