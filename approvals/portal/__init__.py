"""The pages: requester, inbox, reports. They load by a selector, call one service, render."""
