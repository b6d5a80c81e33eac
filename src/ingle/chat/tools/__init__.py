"""Tools: functions a model may call, declared, chosen, checked and run.

It does not know how any chat format writes declarations and calls.
"""

from ingle.chat.tools.choice import ToolChoice
from ingle.chat.tools.tool import Tool, tools_of
from ingle.chat.tools.toolbox import Approval, Toolbox, ToolResult

__all__ = ["Approval", "Tool", "ToolChoice", "ToolResult", "Toolbox", "tools_of"]
