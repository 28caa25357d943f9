"""What one tenant's flood costs the others.

Tenants share hosts, gateways, engines and the trainer of a Populace. The bench floods them as one tenant and
asks as others, over HTTP as anybody may, beside the same without the flood: how long the others wait for a
first token, and whether they are refused. It also floods the limits of a tenant, to see whether they hold.
"""
