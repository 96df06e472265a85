"""Every contract of the pipeline as data: layouts, messages, tables, settings. No behaviour."""
