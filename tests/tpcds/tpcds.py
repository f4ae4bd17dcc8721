"""The 99 queries of TPC-DS as materialized views, held against DuckDB.

Tables of a small TPC-DS, which DuckDB's extension makes together with the queries' texts, are filled; a view is
created for each query; then tables are changed, and after each change the server dies (SIGKILL) and comes again with
another number of tasks. In the end each view must be what DuckDB answers over the same tables.

What is ordered or cut at a query's end is left out, as a view has no order and ties may be cut otherwise.

    make tpcds
"""

import csv
import glob
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import duckdb

SCALE = 0.01

# Most of the calendar and of the clock meets no sale.
SMALLER = """
DELETE FROM date_dim WHERE d_year NOT BETWEEN 1998 AND 2003;
DELETE FROM time_dim WHERE t_time_sk % 60 <> 0;
UPDATE store_sales SET ss_sold_time_sk = ss_sold_time_sk - ss_sold_time_sk % 60;
UPDATE web_sales SET ws_sold_time_sk = ws_sold_time_sk - ws_sold_time_sk % 60;
UPDATE catalog_sales SET cs_sold_time_sk = cs_sold_time_sk - cs_sold_time_sk % 60;
DELETE FROM inventory WHERE inv_item_sk % 3 <> 0;
"""

CHANGES = [
    "DELETE FROM store_sales WHERE ss_ticket_number % 3 = 0",
    "DELETE FROM catalog_sales WHERE cs_order_number % 3 = 0",
    "DELETE FROM web_sales WHERE ws_order_number % 3 = 0",
    "DELETE FROM store_returns WHERE sr_ticket_number % 5 = 0",
    "UPDATE item SET i_current_price = i_current_price + 1 WHERE i_item_sk % 4 = 0",
    "DELETE FROM customer WHERE c_customer_sk % 11 = 0",
    "UPDATE customer_address SET ca_state = 'GA' WHERE ca_address_sk % 2 = 0",
    "DELETE FROM inventory WHERE inv_item_sk % 2 = 0",
    "INSERT INTO web_returns SELECT * FROM web_returns WHERE wr_order_number % 7 = 0",
    "UPDATE date_dim SET d_qoy = 1 WHERE d_dom % 4 = 0",
    "UPDATE store_sales SET ss_net_profit = -ss_net_profit WHERE ss_item_sk % 5 = 0",
]

LAST = "DELETE FROM web_returns WHERE wr_order_number % 13 = 0"

# By how much numbers may differ: a quotient of DECIMALs has six digits in Weir, more in DuckDB.
NEAR = 1e-6
# 78 rounds a quotient of sums, which is a DECIMAL in Weir and a DOUBLE in DuckDB: 1.025 goes up in one and down in the other.
NEAR_IN = {78: 0.011}

# A free port may be taken by the time; a server has this long to come up.
PATIENCE = 120


class Weir:
    """A server of its own, and the shell as its client."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.folder = folder
        self.server = None

    def start(self, tasks):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        self.url = f"http://{address}"
        arguments = ["serve", "--data", f"{self.folder}/data", "--tasks", str(tasks), "--listen", address]
        self.server = subprocess.Popen([self.binary, *arguments], stdout=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.server.poll() is None:
            if self.answer("SELECT 1").returncode == 0:
                return
            time.sleep(0.2)
        sys.exit("the server didn't come up")

    def kill(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def answer(self, sql):
        command = [self.binary, "--connect", self.url, "--format", "csv", "-f", "-"]
        return subprocess.run(command, input=f"{sql};", capture_output=True, text=True, timeout=600)

    def run(self, sql):
        """The rows of the answer, without its header; NULL and the empty text are both None."""
        answer = self.answer(sql)
        if answer.returncode != 0:
            raise RuntimeError(answer.stderr.strip())
        return [[value or None for value in row] for row in list(csv.reader(io.StringIO(answer.stdout)))[1:]]


def generated():
    """A TPC-DS in DuckDB, and its queries by number."""
    database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    found = [glob.glob(f"{path}/duckdb_extension_tpcds/**/*.duckdb_extension", recursive=True) for path in sys.path]
    database.execute(f"LOAD '{sum(found, [])[0]}'")
    database.execute(f"CALL dsdgen(sf = {SCALE})")
    for statement in filter(str.strip, SMALLER.split(";")):
        database.execute(statement)
    queries = database.execute("SELECT query_nr, query FROM tpcds_queries() ORDER BY 1").fetchall()
    return database, {number: without_order(query) for number, query in queries}


def without_order(query):
    """A query without what orders and cuts its answer."""
    query = query.strip().rstrip(";")
    depth, last = 0, len(query)
    for found in re.finditer(r"'[^']*'|\(|\)|ORDER\s+BY|LIMIT\s+\d+\s*$", query, re.IGNORECASE):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0][0].upper() == "O" and depth == 0:
            last = found.start()
        elif found[0][0].upper() == "L" and depth == 0:
            last = min(last, found.start())
    return query[:last].strip()


def fill(weir, database, folder):
    """Creates DuckDB's tables in Weir, with their rows."""
    for (table,) in database.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
        columns = database.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [table]
        ).fetchall()
        columns = ", ".join(f"{name} {kind.replace('VARCHAR', 'TEXT')}" for name, kind in columns)
        path = f"{folder}/{table}.ndjson"
        database.execute(f"COPY {table} TO '{path}' (FORMAT JSON)")
        weir.run(f"CREATE SOURCE of_{table} ({columns}) WITH (connector = 'file', path = '{path}')")
        weir.run(f"CREATE TABLE {table} ({columns})")
        weir.run(f"INSERT INTO {table} SELECT * FROM of_{table}")
        weir.run(f"DROP SOURCE of_{table}")


def value(cell):
    """A number where it is one, whatever it was written as."""
    try:
        return None if cell is None or cell == "" else float(cell)
    except (TypeError, ValueError):
        return str(cell)


def in_order(rows):
    """Rows in an order that digits far behind the point have no say in."""

    def place(cell):
        if isinstance(cell, float):
            return (1, f"{cell:.2f}")
        return (0, "") if cell is None else (2, cell)

    return sorted(([value(cell) for cell in row] for row in rows), key=lambda row: [place(cell) for cell in row])


def same(ours, theirs, near):
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs) <= near + NEAR * abs(theirs)
    return ours == theirs


def difference(weir, database, number, query):
    """How a view differs from its query's answer; None if it doesn't."""
    # An empty line of a CSV has no column, for csv.reader.
    ours = in_order(row or [None] for row in weir.run(f"SELECT * FROM q{number}"))
    try:
        theirs = in_order(database.execute(query).fetchall())
    except duckdb.Error as error:
        return f"DuckDB has no answer: {error}"
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, {len(theirs)} in DuckDB"
    near = NEAR_IN.get(number, NEAR)
    for one, other in zip(ours, theirs):
        if len(one) != len(other) or not all(same(*pair, near) for pair in zip(one, other)):
            return f"{one}\n  in DuckDB {other}"
    return None


def compare(weir, database, queries, when):
    wrong = 0
    for number, query in queries.items():
        found = difference(weir, database, number, query)
        if found:
            wrong += 1
            print(f"q{number} {when}: {found}", flush=True)
    print(f"{when}: {len(queries) - wrong} of {len(queries)} views are what DuckDB answers", flush=True)
    return wrong


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        database, queries = generated()
        weir = Weir(binary, folder)
        weir.start(1)
        try:
            fill(weir, database, folder)
            for number, query in queries.items():
                weir.run(f"CREATE MATERIALIZED VIEW q{number} AS {query}")
            wrong = compare(weir, database, queries, "created")
            for number, change in enumerate(CHANGES):
                database.execute(change)
                weir.run(change)
                weir.kill()
                weir.start(number % 3 + 1)
            # Only its own session waits for what it has changed.
            database.execute(LAST)
            weir.run(f"{LAST}; FLUSH")
            wrong += compare(weir, database, queries, f"after {len(CHANGES)} changes, each with a crash")
        finally:
            weir.kill()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
