"""Prometheus rules and Grafana dashboards, made from the tables of metrics and alerts."""
