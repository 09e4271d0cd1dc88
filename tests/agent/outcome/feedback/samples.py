"""Reports as today's large receivers write them, shortened."""

from pathlib import Path

BOUNCES = Path(__file__).parent / "bounces"


def report(status: str, *, kind: str = "delivery-status", notice: str = "It failed.", encoding: str = "7bit") -> bytes:
    """A multipart/report around `status` (the text of its second part)."""
    return (
        "From: MAILER-DAEMON@mx.example.net\nTo: b+token@bounce.example.com\n"
        "Subject: Undelivered\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="=_x"\n\n'
        f"--=_x\nContent-Type: text/plain\n\n{notice}\n"
        f"--=_x\nContent-Type: message/{kind}\nContent-Transfer-Encoding: {encoding}\n\n{status}\n"
        "--=_x\nContent-Type: text/rfc822-headers\n\nMessage-ID: <1@example.com>\nFeedback-ID: spring:news:mctl-1\n"
        "Return-Path: <b+token@bounce.example.com>\n\n--=_x--\n"
    ).encode()


GMAIL = report(
    """Reporting-MTA: dns; googlemail.com
Received-From-MTA: dns; bounce@example.com
Arrival-Date: Thu, 05 Nov 2026 01:02:03 -0800 (PST)
X-Original-Message-ID: <1@example.com>

Final-Recipient: rfc822; nobody@gmail.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; gmail-smtp-in.l.google.com. (142.250.1.27, the server for the domain gmail.com.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos or
 550 5.1.1 https://support.google.com/mail/?p=NoSuchUser x1 - gsmtp
Last-Attempt-Date: Thu, 05 Nov 2026 01:02:04 -0800 (PST)"""
)

EXCHANGE_ONLINE = report(
    """Reporting-MTA: dns;AM0PR01MB.eurprd01.prod.exchangelabs.com
Received-From-MTA: dns;out.example.com
Arrival-Date: Thu, 5 Nov 2026 09:02:03 +0000

Final-Recipient: rfc822;gone@contoso.example
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient gone@contoso.example not found
X-Display-Name: gone"""
)

POSTFIX_WRONG_STATUS = report(
    """Reporting-MTA: dns; mail.example.org
X-Postfix-Queue-ID: 4F1
Arrival-Date: Thu,  5 Nov 2026 09:02:03 +0000 (UTC)

Final-Recipient: rfc822; user@example.org
Original-Recipient: rfc822;User@example.org
Action: failed
Status: 4.0.0
Remote-MTA: dns; mx.example.org
Diagnostic-Code: smtp; 554 5.7.1 Message rejected because of its content"""
)

YAHOO_ARF = b"""From: "Yahoo! Mail AntiSpam Feedback" <feedback@arf.mail.yahoo.com>
To: fbl@bounce.example.com
Subject: FW: Spring offers
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="yahoo"

--yahoo
Content-Type: text/plain; charset=us-ascii

This is an email abuse report for an email message received from example.com

--yahoo
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Yahoo!-Mail-Feedback/2.0
Version: 0.1
Original-Mail-From: <b+token@bounce.example.com>
Original-Rcpt-To: someone@yahoo.com
Received-Date: Thu, 05 Nov 2026 01:02:03 PST
Reported-Domain: news.example.com
Source-IP: 203.0.113.13
Authentication-Results: mta1.mail.yahoo.com; dkim=pass

--yahoo
Content-Type: message/rfc822

Return-Path: <b+token@bounce.example.com>
Received: from m1.example.com (203.0.113.13)
Feedback-ID: spring:shop:news:mctl-1
Message-ID: <1@news.example.com>
From: Shop <shop@news.example.com>
Subject: Spring offers

text
--yahoo--
"""

JMRP_OLD = b"""From: staff@hotmail.com
To: fbl@bounce.example.com
Subject: complaint about message from 203.0.113.13
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="jmrp"

--jmrp
Content-Type: message/rfc822

X-HmXmrOriginalRecipient: someone@hotmail.com
X-Reporter-IP: 198.51.100.1
Return-Path: b+token@bounce.example.com
Received: from m1.example.com (203.0.113.13) by mx.hotmail.com
Message-ID: <1@news.example.com>

text
--jmrp--
"""

JMRP_HEADERS_ONLY = b"""From: staff@hotmail.com
To: fbl@bounce.example.com
Subject: complaint about message from 203.0.113.13
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="jmrp"

--jmrp
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: JMRP/2.0
Version: 1
Source-IP: 203.0.113.13

--jmrp
Content-Type: text/rfc822-headers

X-HmXmrOriginalRecipient: someone@hotmail.com
Return-Path: b+token@bounce.example.com
Message-ID: <1@news.example.com>

--jmrp--
"""

VACATION = b"""From: Some One <someone@example.org>
To: b+token@bounce.example.com
Subject: Automatic reply: Spring offers
Auto-Submitted: auto-replied
X-Auto-Response-Suppress: All

I am away. Mail to old@example.org could not be delivered; write to new@example.org.
"""

EXIM = b"""X-Failed-Recipients: gone@example.net, away@example.net
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example.net>
To: b+token@bounce.example.com
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  gone@example.net
    host mx.example.net [192.0.2.4]
    SMTP error from remote mail server after RCPT TO:<gone@example.net>:
    550 5.1.1 No such user here
  away@example.net
    mailbox is full: retry timeout exceeded

------ This is a copy of the message, including all the headers. ------

From: shop@example.com
"""

NOTES = b"""From: postmaster@notes.example.de
To: b+token@bounce.example.com
Subject: DELIVERY FAILURE: User gone (gone@example.de) not listed in Domino Directory

Your message

  Subject: Spring offers

was not delivered to:

  gone@example.de

because:

  550 5.1.1 User gone (gone@example.de) not listed in Domino Directory
"""

GMAIL_DELAYED = report(
    """Reporting-MTA: dns; googlemail.com

Final-Recipient: rfc822; slow@example.org
Action: delayed
Status: 4.4.1
Diagnostic-Code: smtp; The recipient server did not accept our requests to connect.
Will-Retry-Until: Sat, 07 Nov 2026 01:02:04 -0800 (PST)"""
)
