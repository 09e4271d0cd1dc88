from mailagent.api.ids import ProviderName, SiteName
from mailagent.routing import Site
from mailagent.scheduling.lanes import Lanes, Place
from mailagent.scheduling.window import Hot
from mailagent.spool.records import QueueName

GMAIL = Site(name=SiteName("gmail"), provider=ProviderName("gmail"), hosts=())
A = QueueName("marketing", "news", "bulk", "a.example")
B = QueueName("marketing", "news", "bulk", "b.example")


def gmail_hosts_everything() -> Lanes:
    return Lanes(lambda domain: GMAIL)


def test_domains_of_one_site_share_a_lane() -> None:
    lanes = gmail_hosts_everything()
    assert lanes.of(A) is lanes.of(Hot(2, B))
    assert lanes.turn("bulk") == [lanes.of(A)]
    assert lanes.of(A).key == "marketing/news/bulk/gmail"


def test_a_full_lane_is_found_by_its_site_until_it_is_called() -> None:
    lanes = gmail_hosts_everything()
    lane = lanes.of(A)
    lane.on_disk = True
    lanes.hold(lane, Place.FULL)
    assert not lanes.has_turn("bulk")
    assert lanes.waiting_for("gmail") == (lane,)
    lanes.call(lane)
    assert (lanes.waiting_for("gmail"), lanes.turn("bulk")) == ((), [lane])


def test_a_blocked_lane_waits_for_a_change_of_directives_only() -> None:
    lanes = gmail_hosts_everything()
    lane = lanes.of(A)
    lane.on_disk = True
    lanes.hold(lane, Place.FULL)
    lanes.hold(lane, Place.BLOCKED)
    assert lanes.waiting_for("gmail") == ()
    lanes.call_all()
    assert lane.place is Place.TURN


def test_a_lane_without_mail_is_forgotten_after_its_turn() -> None:
    lanes = gmail_hosts_everything()
    lane = lanes.of(A)
    hot = Hot(1, A)
    lane.add(hot)
    lanes.to_end(lane)
    assert lanes.get(A, GMAIL) is lane
    lane.remove(hot)
    lanes.to_end(lane)
    assert lanes.get(A, GMAIL) is None
    assert not lanes.has_turn("bulk")
