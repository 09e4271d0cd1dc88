"""The method table: the one place that says what can be called, by whom, with what and for what."""

from dataclasses import dataclass
from typing import Any

import msgspec

from mailagent.api import credentials, dkim, evacuation, jobs, lock, mail, replies, requests, suppression, views
from mailagent.api.ages import AgeTable
from mailagent.api.automation import AutomationView
from mailagent.api.events import EventSinks
from mailagent.api.feedback import FeedbackRequest, FeedbackView
from mailagent.api.find import FindPage, FindRequest
from mailagent.api.intake import CheckCounts
from mailagent.api.metrics import Metrics
from mailagent.api.notes import NoteAdd
from mailagent.api.operations import OperationRecord, OperationResult
from mailagent.api.outcomes import Outcomes, OutcomesRequest
from mailagent.api.parts import MessageParts, PartsRequest
from mailagent.api.reputation import IdentityChecks, IdentityRequest, ListChecks, ListsRequest
from mailagent.api.requests import Role
from mailagent.api.rollout import ConfigApply, ConfigPlan, ConfigQuery, ConfigUndo
from mailagent.api.sums import Sums, SumsRequest
from mailagent.api.trace import TraceRequest, TraceStarted
from mailagent.api.warm_up import WarmUpRequest, WarmUps
from mailagent.api.why import QueueWhy, WhyRequest

PROTOCOL_VERSION = 1
"""Counts the breaks of the wire contract; N-1 is supported from the second release on."""
MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 1024 * 1024
MAX_PAGE_BYTES = 512 * 1024
MAX_TEXT_CHARS = 2048
"""Longer remote text is cut, and says so with the mark of `mailagent.api.codec.cut`."""
DEFAULT_SOCKET = "/run/mailagent/rpc.sock"
CHANGES = "changes"
"""Name of the notification that a subscription sends."""
TRACE = "trace"
"""Name of the notification that a trace sends."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row: wire name, shapes, the least role, and whether it changes something."""

    name: str
    params: type[msgspec.Struct]
    result: Any
    role: Role = Role.VIEWER
    audited: bool = False  # a look that goes on record, as verbs do

    @property
    def mutates(self) -> bool:
        """Whether it is a verb: audited, idempotent by op_id."""
        return issubclass(self.params, requests.Mutation)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("hello", requests.HelloRequest, replies.Hello),
        Method("snapshot", requests.Empty, views.Snapshot),
        Method("subscribe", requests.SubscribeRequest, replies.Subscription),
        Method("unsubscribe", requests.Empty, requests.Empty),
        Method("history", requests.HistoryRequest, views.Series),
        Method("sums", SumsRequest, Sums),
        Method("outcomes", OutcomesRequest, Outcomes),
        Method("queues", requests.PageRequest, replies.QueuePage),
        Method("deferred", requests.PageRequest, replies.DeferredGroups),
        Method("messages", requests.PageRequest, replies.MessagePage),
        Method("message", requests.MessageRequest, views.MessageDetail),
        Method("find", FindRequest, FindPage),
        Method("in_doubt", requests.PageRequest, replies.InDoubtPage),
        Method("why", WhyRequest, QueueWhy),
        Method("ages", requests.Empty, AgeTable),
        Method("events", requests.Empty, EventSinks),
        Method("operations", requests.PageRequest, replies.OperationPage),
        Method("operation", requests.OperationRequest, OperationRecord | None),
        Method("jobs", requests.Empty, jobs.JobPage),
        Method("job", jobs.JobQuery, jobs.JobDetail),
        Method("job_set", jobs.JobSet, OperationResult, Role.OPERATOR),
        Method("job_cancel", jobs.JobCancel, OperationResult, Role.OPERATOR),
        Method("dkim", requests.Empty, dkim.DkimSelectors),
        Method("dkim_prove", dkim.DkimQuery, dkim.DkimProof, Role.OPERATOR),
        Method("dkim_prepare", dkim.DkimPrepare, OperationResult, Role.OPERATOR),
        Method("dkim_switch", dkim.DkimSwitch, OperationResult, Role.OPERATOR),
        Method("dkim_retire", dkim.DkimRetire, OperationResult, Role.OPERATOR),
        Method("automation", requests.Empty, AutomationView),
        Method("block_lists", ListsRequest, ListChecks),
        Method("metrics", requests.Empty, Metrics),
        Method("identity", IdentityRequest, IdentityChecks),
        Method("warm_up", WarmUpRequest, WarmUps),
        Method("feedback", FeedbackRequest, FeedbackView),
        Method("suppressions", suppression.SuppressionQuery, suppression.SuppressionPage),
        Method("suppression_add", suppression.SuppressionAdd, OperationResult, Role.OPERATOR),
        Method("suppression_remove", suppression.SuppressionRemove, OperationResult, Role.OPERATOR),
        Method("suppression_pending", suppression.SuppressionPending, OperationResult, Role.OPERATOR),
        Method("suppression_freeze", suppression.SuppressionFreeze, OperationResult, Role.OPERATOR),
        Method("suppression_thaw", suppression.SuppressionThaw, OperationResult, Role.OPERATOR),
        Method(TRACE, TraceRequest, TraceStarted, Role.OPERATOR, audited=True),
        Method("parts", PartsRequest, MessageParts, Role.OPERATOR, audited=True),
        Method("untrace", requests.Empty, requests.Empty),
        Method("drain", requests.Drain, OperationResult, Role.OPERATOR),
        Method("undrain", requests.Undrain, OperationResult, Role.OPERATOR),
        Method("suspend", requests.Suspend, OperationResult, Role.OPERATOR),
        Method("resume", requests.Resume, OperationResult, Role.OPERATOR),
        Method("rotate", requests.Rotate, OperationResult, Role.OPERATOR),
        Method("limit", requests.Limit, OperationResult, Role.OPERATOR),
        Method("retry", requests.Retry, OperationResult, Role.OPERATOR),
        Method("hold", mail.Hold, OperationResult, Role.OPERATOR),
        Method("release", mail.Release, OperationResult, Role.OPERATOR),
        Method("rebind", mail.Rebind, OperationResult, Role.OPERATOR),
        Method("probe", mail.Probe, OperationResult, Role.OPERATOR),
        Method("bounce", mail.Bounce, OperationResult, Role.OPERATOR),
        Method("delete", mail.Delete, OperationResult, Role.OPERATOR),
        Method("requeue", mail.Requeue, OperationResult, Role.OPERATOR),
        Method("cancel", requests.Cancel, OperationResult, Role.OPERATOR),
        Method("edit", requests.Edit, OperationResult, Role.OPERATOR),
        Method("undo", requests.Undo, OperationResult, Role.OPERATOR),
        Method("note_add", NoteAdd, OperationResult, Role.OPERATOR),
        Method("lock_take", lock.LockTake, OperationResult, Role.OPERATOR),
        Method("lock_release", lock.LockRelease, OperationResult, Role.OPERATOR),
        Method("evacuations", requests.Empty, evacuation.Evacuations),
        Method("evacuation_source", requests.Empty, evacuation.EvacuationSource),
        Method("evacuation_room", evacuation.EvacuationRoomQuery, evacuation.EvacuationRoom),
        Method("evacuate", evacuation.Evacuate, OperationResult, Role.OPERATOR),
        Method("evacuate_admit", evacuation.EvacuateAdmit, OperationResult, Role.OPERATOR),
        Method("evacuate_end", evacuation.EvacuateEnd, OperationResult, Role.OPERATOR),
        Method("parcel_take", evacuation.ParcelTake, evacuation.ParcelTaken, Role.OPERATOR),
        Method("parcel_read", evacuation.ParcelRead, evacuation.ParcelParts, Role.OPERATOR),
        Method("parcel_put", evacuation.ParcelPut, evacuation.ParcelKept, Role.OPERATOR),
        Method("parcel_decide", evacuation.ParcelDecide, evacuation.ParcelDecision, Role.OPERATOR),
        Method("parcel_settle", evacuation.ParcelSettle, evacuation.ParcelKept, Role.OPERATOR),
        Method("parcel_close", evacuation.ParcelClose, requests.Empty, Role.OPERATOR),
        Method("reload", requests.Reload, OperationResult, Role.ADMIN),
        Method("config_plan", ConfigQuery, ConfigPlan, Role.OPERATOR),
        Method("config_apply", ConfigApply, OperationResult, Role.ADMIN),
        Method("config_undo", ConfigUndo, OperationResult, Role.ADMIN),
        Method("checks", requests.Empty, CheckCounts),
        Method("credentials", requests.Empty, credentials.CredentialList),
        Method("credential_create", credentials.CreateCredential, OperationResult, Role.ADMIN),
        Method("credential_scope", credentials.ScopeCredential, OperationResult, Role.ADMIN),
        Method("credential_rotate", credentials.RotateCredential, OperationResult, Role.ADMIN),
        Method("credential_revoke", credentials.RevokeCredential, OperationResult, Role.ADMIN),
    )
}
