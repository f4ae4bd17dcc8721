"""Asks DuckDB what views are, given relations' rows, and compares with what Weir kept.

Takes a file of cases: relations (name, types, rows) and views (name, sql, rows). Views may read
each other. Numbers are compared to four decimals, as text too, for DuckDB's mean of decimals is a float, and the
last digit of a float is of the order in which it was summed.
"""

import collections
import decimal
import json
import re
import sys

import duckdb


TEXTS = ("VARCHAR", "STRING", "TIMESTAMP", "DATETIME", "Date", "DATE", "BOOLEAN", "bool")

FLOAT = re.compile(r"-?\d+\.\d+(e[-+]?\d+)?")


def normal(cell):
    # What a line through one point is has no value.
    if isinstance(cell, float) and cell != cell:
        return None
    if isinstance(cell, (int, float, decimal.Decimal)) and not isinstance(cell, bool):
        return round(float(cell), 4) + 0.0
    if isinstance(cell, bool):
        return str(cell).lower()
    if cell is None:
        return None
    text = str(cell)
    return str(round(float(text), 4)) if FLOAT.fullmatch(text) else text


def parsed(cell, is_number):
    return normal(float(cell) if is_number and cell is not None else cell)


def answers(case):
    """What differs between DuckDB's answers and the views' rows."""
    database = duckdb.connect()
    # Conditions that guard a division are drawn in front of it and behind it; DuckDB knows the first.
    database.execute("SET error_on_division_by_zero = false")
    for relation in case["relations"]:
        columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(relation["types"]))
        database.execute(f"CREATE TABLE {relation['name']} ({columns})")
        marks = ", ".join("?" for _ in relation["types"])
        for row in relation["rows"]:
            database.execute(f"INSERT INTO {relation['name']} VALUES ({marks})", row)
    for view in case["views"]:
        database.execute(f"CREATE VIEW {view['name']} AS {view['sql']}")
        result = database.execute(f"SELECT * FROM {view['name']}")
        numbers = [str(column[1]) not in TEXTS for column in result.description]
        theirs = collections.Counter(tuple(map(normal, row)) for row in result.fetchall())
        ours = collections.Counter(tuple(map(parsed, row, numbers)) for row in view["rows"])
        if ours != theirs:
            yield (
                f"{view['name']} AS\n{view['sql']}\n"
                f"only Weir has {dict(ours - theirs)}\nonly DuckDB has {dict(theirs - ours)}"
            )


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    wrong = 0
    for number, case in enumerate(cases):
        for difference in answers(case):
            wrong += 1
            print(f"case {number}: {difference}")
            for relation in case["relations"]:
                print(f"  {relation['name']} {relation['types']}: {relation['rows']}")
    sys.exit(1 if wrong else 0)


main()
