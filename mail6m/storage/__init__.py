"""PostgreSQL: the only folder with SQL, and the only importer of txpostgres."""
