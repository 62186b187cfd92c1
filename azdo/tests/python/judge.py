"""Drives the simulator with Microsoft's own client; any surprise ends with a traceback.

Usage: judge.py BASE_URL < tokens, one a line: manager, reader, without a role, expired
"""

import atexit
import os
import shutil
import sys
import tempfile

# The client keeps for hours what it learned about a server; every run shall ask anew.
cache = tempfile.mkdtemp(prefix="fleet-test-azdo-")
atexit.register(shutil.rmtree, cache, ignore_errors=True)
os.environ["AZURE_DEVOPS_CACHE_DIR"] = cache

from azure.devops.connection import Connection  # noqa: E402
from azure.devops.exceptions import AzureDevOpsAuthenticationError, AzureDevOpsServiceError  # noqa: E402
from azure.devops.v7_1.task_agent.models import (  # noqa: E402
    TaskAgent, TaskAgentAuthorization, TaskAgentPool, TaskAgentPublicKey,
)
from msrest.authentication import BasicAuthentication  # noqa: E402

BASE = sys.argv[1]
MANAGER, READER, NOBODY, EXPIRED = (line.strip() for line in sys.stdin)


def client(token):
    connection = Connection(base_url=BASE, creds=BasicAuthentication("", token))
    return connection.clients_v7_1.get_task_agent_client()


def refused(type_key, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except AzureDevOpsServiceError as error:
        assert error.type_key == type_key, (type_key, error.type_key, error.message)
        assert error.message, "a refusal says why"
        return error
    raise AssertionError(f"not refused with {type_key}")


def pools(api):
    by_name = api.get_agent_pools(pool_name="nightly")
    assert [p.name for p in by_name] == ["nightly"], by_name
    assert api.get_agent_pools(pool_name="no such pool") == []
    everything = api.get_agent_pools()
    assert {"Default", "Azure Pipelines", "nightly"} <= {p.name for p in everything}
    assert [p.name for p in everything if p.is_hosted] == ["Azure Pipelines"]
    one = api.get_agent_pool(by_name[0].id)
    assert (one.name, one.pool_type, one.is_hosted, one.size) == ("nightly", "automation", False, 0)
    assert one.created_on.tzinfo is not None and one.created_by.id
    both = api.get_agent_pools_by_ids([one.id, everything[0].id])
    assert {p.id for p in both} == {one.id, everything[0].id}
    assert api.update_agent_pool(TaskAgentPool(auto_update=False), one.id).auto_update is False
    refused("TaskAgentPoolNotFoundException", api.get_agent_pool, 4711)
    made = api.add_agent_pool(TaskAgentPool(name="made here"))
    assert api.get_agent_pool(made.id).name == "made here"
    refused("TaskAgentPoolExistsException", api.add_agent_pool, TaskAgentPool(name="made here"))
    api.delete_agent_pool(made.id)
    refused("TaskAgentPoolNotFoundException", api.get_agent_pool, made.id)
    return one.id


def registration(name, **more):
    key = TaskAgentPublicKey(exponent="AQAB", modulus="A" * 340 + "AA==")
    return TaskAgent(name=name, version="4.260.0", os_description="Linux", max_parallelism=1,
                     authorization=TaskAgentAuthorization(public_key=key),
                     system_capabilities={"Agent.Version": "4.260.0", "docker": "/usr/bin/docker"}, **more)


def agents(api, pool):
    added = api.add_agent(registration("host1-01"), pool)
    assert added.id and added.status == "offline" and added.enabled is True
    assert added.authorization.client_id and added.authorization.authorization_url
    refused("TaskAgentExistsException", api.add_agent, registration("HOST1-01"), pool)

    bare = api.get_agent(pool, added.id)
    assert bare.system_capabilities is None and bare.assigned_request is None
    full = api.get_agent(pool, added.id, include_capabilities=True, include_assigned_request=True,
                         include_last_completed_request=True)
    assert full.system_capabilities["docker"] == "/usr/bin/docker"
    assert full.assigned_request is None and full.last_completed_request is None

    other = api.add_agent(TaskAgent(name="placeholder", version="4.1.0"), pool)
    assert [a.name for a in api.get_agents(pool)] == ["host1-01", "placeholder"]
    assert [a.id for a in api.get_agents(pool, agent_name="placeholder")] == [other.id]
    assert [a.name for a in api.get_agents(pool, demands=["docker"])] == ["host1-01"]
    assert api.get_agents(pool, agent_name="nobody") == []

    off = api.update_agent(TaskAgent(id=added.id, enabled=False), pool, added.id)
    assert off.enabled is False and api.get_agent(pool, added.id).enabled is False
    replaced = api.replace_agent(registration("host1-01"), pool, added.id)
    assert replaced.id == added.id, "a replace keeps the id"
    assert replaced.enabled is False, "and the flag"
    assert replaced.authorization.client_id != added.authorization.client_id, "and not the key"
    assert api.update_agent(TaskAgent(id=added.id, enabled=True), pool, added.id).enabled is True

    api.delete_agent(pool, other.id)
    refused("TaskAgentNotFoundException", api.delete_agent, pool, other.id)
    refused("TaskAgentNotFoundException", api.get_agent, pool, other.id)
    refused("TaskAgentPoolNotFoundException", api.get_agents, 4711)


def busy(api, pool):
    """The rows that the test has made busy and idle-after-a-job before starting us."""
    by_name = {a.name: a for a in api.get_agents(pool, include_assigned_request=True,
                                                 include_last_completed_request=True)}
    holder = by_name["busy"]
    assert holder.status == "online" and holder.access_point
    assert holder.assigned_request.request_id and holder.assigned_request.result is None
    assert "Agent.Version -gtVersion 2.182.1" in holder.assigned_request.demands
    assert by_name["done"].last_completed_request.result == "failed"
    assert by_name["done"].assigned_request is None
    error = refused("TaskAgentJobStillRunningException", api.delete_agent, pool, holder.id)
    assert error.message == 'Agent "busy" is running a job for pool "crowded"', error.message


def queues(api, pool):
    queue = api.get_agent_queues(project="demo", queue_name="nightly")
    assert [q.pool.id for q in queue] == [pool]
    assert api.get_agent_queue(queue[0].id, project="demo").name == "nightly"
    assert [q.name for q in api.get_agent_queues_for_pools([pool], project="demo")] == ["nightly"]


def credentials(pool):
    reader = client(READER)
    assert reader.get_agent_pools(pool_name="nightly")
    assert reader.get_agent_pools(action_filter="manage") == []
    refused("AccessDeniedException", reader.add_agent, registration("x"), pool)
    refused("AccessDeniedException", client(NOBODY).get_agent_pools)
    refused("AccessCheckException", client(EXPIRED).get_agent_pools)
    try:
        client("wrong").get_agent_pools()
    except (AzureDevOpsServiceError, AzureDevOpsAuthenticationError) as error:
        assert "TF400813" in str(error), error
    else:
        raise AssertionError("a wrong token was let in")


def main():
    api = client(MANAGER)
    pool = pools(api)
    agents(api, pool)
    busy(api, api.get_agent_pools(pool_name="crowded")[0].id)
    queues(api, pool)
    credentials(pool)
    print("ok")


main()
