"""What runs beside the pipeline: databases, Prometheus, Grafana, and what they show."""
