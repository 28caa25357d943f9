"""Reports of hosts, engines and the trainer as metric families of Prometheus, and nothing else.

``reported`` shows all of it when it is scraped. Each module below it has the families of one subject, and
``families`` makes them. No label names a tenant, a model or an adapter: a series is kept for ever, by this
process and by whoever scrapes it.

What this gateway counts itself is in ``gateway/http/metrics``.
"""
