"""The program ``populace``, in which Ray loses calls of the gateway and of the hosts.

Ray injects faults into a process by its environment. Serve's controller is spared: it takes one
health check whose answer is lost for the death of a replica, and replaces an engine or a gateway
every minute, so that little else would be seen.
"""

import json
from collections.abc import Mapping

from populace.cli.main import app
from populace.cluster import ray_parts as ray_cluster

LOSSES: Mapping[str, Mapping[str, int]] = {
    "CoreWorkerService.grpc_client.PushTask": {
        "num_failures": -1,
        "req_failure_prob": 5,
        "resp_failure_prob": 5,
        "in_flight_failure_prob": 5,
    }
}
"""Of 100 calls 5 do not arrive, of 5 the answer is lost, and 5 run although their caller gets an error."""

if __name__ == "__main__":
    ray_cluster.ONE_THREAD["RAY_testing_rpc_failure"] = json.dumps(LOSSES)
    app()
