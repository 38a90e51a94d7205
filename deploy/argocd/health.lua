-- Health of Region, DatabaseInstance, BackupSyncService, BucketReplicationRule and DisasterRecoveryInstance for
-- Argo CD, which knows only its own kinds. They share their conditions, so they share this script: docs/gitops.md says where it
-- goes.
local function answer(status, message)
  return {status = status, message = message}
end

if obj.metadata.deletionTimestamp ~= nil then
  return answer("Progressing", "on its way out")
end

local status = obj.status
if status == nil or status.conditions == nil then
  -- A region that no controller serves is never asked.
  if obj.kind == "Region" then
    return answer("Healthy", "not asked yet")
  end
  return answer("Progressing", "waiting for the controller")
end
if status.observedGeneration ~= nil and status.observedGeneration < obj.metadata.generation then
  return answer("Progressing", "waiting for the controller to see the change")
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function holds(type, value)
  local condition = conditions[type]
  return condition ~= nil and condition.status == value
end

if holds("Stalled", "True") then
  return answer("Degraded", conditions.Stalled.message)
end
if holds("Ready", "True") and conditions.Ready.reason == "Suspended" then
  return answer("Suspended", conditions.Ready.message)
end
-- It worked once: an outage is told as one, although it heals by itself.
if status.phase == "Stale" or (status.phase == "Standby" and holds("Ready", "False")) then
  return answer("Degraded", conditions.Ready.message)
end
if holds("Reconciling", "True") then
  return answer("Progressing", conditions.Reconciling.message)
end
if holds("WithinRPO", "False") then
  return answer("Degraded", conditions.WithinRPO.message)
end
if holds("DeletionHeld", "True") then
  return answer("Degraded", conditions.DeletionHeld.message)
end
if holds("Ready", "True") then
  return answer("Healthy", conditions.Ready.message)
end
if holds("Ready", "False") then
  return answer("Degraded", conditions.Ready.message)
end
return answer("Progressing", "not known yet")
