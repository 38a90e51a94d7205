"""A stand-in for mongod's fences: SecantusDB with the commands that it lacks.

It does what mongod's documentation and source say of them: setUserWriteBlockMode refuses writes of accounts that may
not bypass it (code 371), but none on the server's own databases; ttlMonitorEnabled is a parameter that a restart
forgets; _mergeAuthzCollections takes over users with what is kept of their passwords.
"""

import sys

from secantus import cli, commands, rbac, serverparams

BYPASS = "bypassWriteBlockingMode"
ALL_POWERFUL = {"root", "__system", "restore"}
WRITES = [
    "insert", "update", "delete", "create", "createIndexes", "drop", "dropDatabase", "renameCollection", "collMod",
    "dropIndexes", "findAndModify", "bulkWrite",
]
STATE = {"blocked": False, "ttlMonitorEnabled": True}


def failure(code, name, message):
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": message}


def may(context, action):
    if not context.require_auth:
        return True
    login = context.connection_auth
    roles = login.effective_roles if login else []
    if any(role["db"] == "admin" and role["role"] in ALL_POWERFUL for role in roles):
        return True
    resolver = context.storage.get_role
    return rbac.check_privilege(roles, action, target_db=None, cluster=True, role_resolver=resolver)


def guarded(handler):
    def write(command, context):
        internal = context.db_name in ["admin", "config", "local"]
        if STATE["blocked"] and not internal and not may(context, BYPASS):
            return failure(371, "UserWritesBlocked", "User writes blocked")
        return handler(command, context)

    return write


def block(command, context):
    if not may(context, "setUserWriteBlockMode"):
        return failure(13, "Unauthorized", "not authorized on admin to execute command setUserWriteBlockMode")
    STATE["blocked"] = bool(command["global"])
    return {"ok": 1.0}


def install():
    handlers = commands._HANDLERS
    status, connection = handlers["serverStatus"], handlers["connectionStatus"]
    get, put, find = handlers["getParameter"], handlers["setParameter"], handlers["find"]

    def server_status(command, context):
        reply = status(command, context)
        reply.setdefault("repl", {})["userWriteBlockMode"] = 2 if STATE["blocked"] else 1
        return reply

    def connection_status(command, context):
        reply = connection(command, context)
        if command.get("showPrivileges") and context.require_auth:
            actions = ["listDatabases"] + [action for action in [BYPASS] if may(context, action)]
            privileges = [{"resource": {"cluster": True}, "actions": actions}]
            reply["authInfo"]["authenticatedUserPrivileges"] = privileges
        return reply

    def get_parameter(command, context):
        reply = get(command, context)
        if "ttlMonitorEnabled" in command:
            reply["ttlMonitorEnabled"] = STATE["ttlMonitorEnabled"]
        return reply

    def set_parameter(command, context):
        if "ttlMonitorEnabled" not in command:
            return put(command, context)
        was, STATE["ttlMonitorEnabled"] = STATE["ttlMonitorEnabled"], bool(command["ttlMonitorEnabled"])
        return {"was": was, "ok": 1.0}

    def merge(command, context):
        if not may(context, "anyAction"):
            return failure(13, "Unauthorized", "not authorized on admin to execute command _mergeAuthzCollections")
        collection = command["tempUsersCollection"].split(".", 1)[1]
        for user in find({"find": collection, "$db": "admin"}, context)["cursor"]["firstBatch"]:
            user = dict(user)
            context.storage.add_user(user["db"], user["user"], user, replace=True)
        return {"ok": 1.0}

    for name in WRITES:
        if name in handlers:
            handlers[name] = guarded(handlers[name])
    handlers.update(
        serverStatus=server_status, connectionStatus=connection_status, getParameter=get_parameter,
        setParameter=set_parameter, setUserWriteBlockMode=block, _mergeAuthzCollections=merge,
    )


install()
sys.exit(cli.main())
