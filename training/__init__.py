"""The offline application: tables in, bundles and reports out."""
