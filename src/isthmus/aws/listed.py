"""Under which paths every kind of item is listed (``core.catalogue``)."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core import (
    attachments,
    billing_groups,
    ca_certificates,
    certificates,
    command_executions,
    commands,
    domain_configurations,
    memberships,
    policies,
    provisioning_templates,
    registration_tasks,
    registry,
    retained,
    settings,
    shadows,
    thing_groups,
    thing_types,
    things,
)
from isthmus.core.catalogue import Listed

#: By kind. The paths are those that the handlers read.
LISTED: Mapping[str, Listed] = {
    registry.ATTACHMENT: attachments.listed,
    billing_groups.BILLING_GROUP: billing_groups.listed,
    ca_certificates.CA_CERTIFICATE: ca_certificates.listed,
    registry.CERTIFICATE: certificates.listed,
    commands.COMMAND: commands.listed,
    command_executions.COMMAND_EXECUTION: command_executions.listed,
    domain_configurations.DOMAIN_CONFIGURATION: settings.listed,
    memberships.MEMBERSHIPS: memberships.listed,
    registry.POLICY: policies.listed,
    provisioning_templates.PROVISIONING_TEMPLATE: provisioning_templates.listed,
    registration_tasks.REGISTRATION_TASK: registration_tasks.listed,
    retained.RETAINED: retained.listed,
    settings.ROLE_ALIAS: settings.listed,
    shadows.SHADOW: shadows.listed,
    settings.TOPIC_RULE: settings.listed,
    thing_groups.THING_GROUP: thing_groups.listed,
    things.THING: things.listed,
    thing_types.THING_TYPE: thing_types.listed,
}
