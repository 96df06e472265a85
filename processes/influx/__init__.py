"""Influx: features, summaries and the audit log to InfluxDB, over any outage of the server."""
