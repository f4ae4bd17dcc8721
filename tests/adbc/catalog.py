"""Catalog calls by ADBC: objects, table schemas, table types, facts about the server."""

import sys

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow


def tables_of(objects):
    """(schema, table, type): columns, over all that adbc_get_objects gave."""
    found = {}
    for catalog in objects:
        for schema in catalog["catalog_db_schemas"] or []:
            for table in schema["db_schema_tables"] or []:
                key = (schema["db_schema_name"], table["table_name"], table["table_type"])
                found[key] = [column["column_name"] for column in table["table_columns"] or []]
    return found


with flightsql.connect(sys.argv[1], autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT, total DECIMAL(12, 2))")
        cursor.execute("CREATE SOURCE ticks (n BIGINT) WITH (connector = 'datagen', rows_per_second = '1')")
        cursor.execute("CREATE VIEW large AS SELECT id FROM orders WHERE total > 100")
        cursor.execute("CREATE MATERIALIZED VIEW sums AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer")

    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    assert [catalog["catalog_name"] for catalog in objects] == ["weir"], objects
    tables = tables_of(objects)
    assert tables[("public", "orders", "TABLE")] == ["id", "customer", "total"], tables
    assert tables[("public", "ticks", "SOURCE")] == ["n"], tables
    assert tables[("public", "large", "VIEW")] == ["id"], tables
    assert tables[("public", "sums", "MATERIALIZED VIEW")] == ["customer", "total"], tables
    assert "position" in tables[("weir", "lag", "SYSTEM TABLE")], tables

    objects = connection.adbc_get_objects(
        depth="tables", db_schema_filter="public", table_name_filter="%s", table_types_filter=["TABLE", "SOURCE"]
    )
    names = {name for _, name, _ in tables_of(objects.read_all().to_pylist())}
    assert names == {"orders", "ticks"}, names

    schema = connection.adbc_get_table_schema("orders")
    assert schema.names == ["id", "customer", "total"], schema
    assert schema.field("total").type == pyarrow.decimal128(12, 2), schema
    assert connection.adbc_get_table_schema("sums", db_schema_filter="public").names == ["customer", "total"]
    try:
        connection.adbc_get_table_schema("nothing")
    except flightsql.Error:
        pass
    else:
        raise AssertionError("a schema of a table that isn't there")

    assert "MATERIALIZED VIEW" in connection.adbc_get_table_types()
    facts = connection.adbc_get_info()
    assert facts["vendor_name"] == "Weir", facts
