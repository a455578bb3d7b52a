//! Everything the dashboard says, in every language it speaks.
//!
//! One table: a text without one of its languages does not compile.

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese, simplified.
    Chinese,
}

impl Language {
    /// From a language tag such as `zh-CN`.
    pub fn from_tag(tag: &str) -> Self {
        match tag.to_lowercase().starts_with("zh") {
            true => Self::Chinese,
            false => Self::English,
        }
    }

    /// The language's tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::English => Self::Chinese,
            Self::Chinese => Self::English,
        }
    }
}

macro_rules! texts {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        /// A text, named by what it says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Text {
            $(#[doc = $english] $name,)*
        }

        impl Text {
            /// All texts.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// In a language.
            pub fn of(self, language: Language) -> &'static str {
                match (self, language) {
                    $((Self::$name, Language::English) => $english, (Self::$name, Language::Chinese) => $chinese,)*
                }
            }
        }
    };
}

texts! {
    LogIn: "Log in", "登录";
    LogOut: "Log out", "退出登录";
    Token: "Token", "令牌";
    LoginHint: "Paste a token, or run `mizzen dashboard` on the server and open the address that it prints.",
        "请粘贴令牌，或在服务器上运行 `mizzen dashboard` 并打开它给出的地址。";
    LoginExpired: "Your session has ended. Log in again; nothing on this page is lost.",
        "会话已结束。请重新登录；本页内容不会丢失。";
    LoginWrong: "These credentials are not accepted.", "凭据无效。";
    Kinds: "Kinds", "资源类型";
    Namespaces: "Namespaces", "命名空间";
    AllNamespaces: "all namespaces", "所有命名空间";
    Namespace: "Namespace", "命名空间";
    Filter: "Filter", "筛选";
    FaultsOnly: "Faults only", "仅显示异常";
    Columns: "Columns", "列";
    AllColumns: "all of them", "全部列";
    Loading: "Loading…", "加载中…";
    NoneExist: "There are none.", "没有任何对象。";
    NoneMatch: "None match the filter.", "没有符合筛选条件的对象。";
    ClearFilter: "Clear the filter", "清除筛选";
    Forbidden: "You may not see this", "您无权查看";
    MissingVerb: "missing permission", "缺少权限";
    Disconnected: "Disconnected; last known state since", "连接已断开；显示的是最后已知状态，自";
    Live: "live", "实时";
    Rows: "rows", "行";
    Marked: "marked", "已选";
    NotFound: "There is no such page", "没有此页面";
    Gone: "This object has been deleted.", "该对象已被删除。";
    Describe: "Describe", "详情";
    Yaml: "YAML", "YAML";
    Events: "Events", "事件";
    Logs: "Logs", "日志";
    Related: "Related", "相关对象";
    Conditions: "Conditions", "状况";
    Owners: "Owned by", "所属";
    Uses: "Uses", "使用";
    Pods: "Pods", "Pods";
    Edit: "Edit", "编辑";
    Save: "Save", "保存";
    Check: "Check (dry run)", "检查（试运行）";
    Cancel: "Cancel", "取消";
    Delete: "Delete", "删除";
    Scale: "Scale", "扩缩容";
    Replicas: "Replicas", "副本数";
    Restart: "Restart", "重启";
    Create: "Create", "创建";
    CreateHint: "YAML of one or more objects", "一个或多个对象的 YAML";
    Command: "The same on the command line", "等效命令";
    Notices: "What happened", "通知";
    NoNotices: "Nothing yet.", "暂无通知。";
    Done: "done", "完成";
    Failed: "failed", "失败";
    Help: "Keys", "快捷键";
    Close: "Close", "关闭";
    Theme: "Theme", "主题";
    OtherLanguage: "中文", "English";
    Container: "Container", "容器";
    Follow: "Follow", "跟随";
    Search: "Search", "搜索";
    Overview: "Overview", "概览";
    Nodes: "Nodes", "节点";
    Healthy: "healthy", "正常";
    Troubled: "in trouble", "异常";
    Warnings: "Warnings", "警告";
    NothingWrong: "Nothing is wrong.", "一切正常。";
    Workloads: "Workloads", "工作负载";
    GoTo: "Go to a kind", "转到资源类型";
    NoChanges: "Nothing would change.", "没有任何更改。";
    WouldChange: "What would change", "将要发生的更改";
    SkipToContent: "Skip to the content", "跳到内容";
    KeyFilter: "filter", "筛选";
    KeyCommand: "go to a kind", "转到资源类型";
    KeyDown: "down", "向下";
    KeyUp: "up", "向上";
    KeyTop: "to the first", "到第一行";
    KeyBottom: "to the last", "到最后一行";
    KeyPageDown: "a page down", "向下翻页";
    KeyPageUp: "a page up", "向上翻页";
    KeyShell: "a shell in the Pod; scale a workload", "进入 Pod 的终端；扩缩工作负载";
    KeyBack: "back", "返回";
    KeyMark: "mark", "选择";
    KeyHelp: "these keys", "显示快捷键";
    Cluster: "Cluster", "集群";
    Network: "Network", "网络";
    Storage: "Storage", "存储";
    Configuration: "Configuration", "配置";
    Access: "Access", "访问控制";
    Others: "Others", "其他";
    Underway: "under way", "进行中";
    Suspicious: "to be looked at", "需关注";
    CpuRequested: "CPU requested", "已请求的 CPU";
    MemoryRequested: "Memory requested", "已请求的内存";
    Custom: "Custom resources", "自定义资源";
    Rollback: "Roll back", "回滚";
    SetImage: "Set image", "设置镜像";
    Pause: "Pause", "暂停";
    Resume: "Resume", "恢复";
    Kill: "Kill", "立即终止";
    Cordon: "Cordon", "禁止调度";
    Uncordon: "Uncordon", "允许调度";
    Drain: "Drain", "排空";
    Trigger: "Run now", "立即运行";
    Suspend: "Suspend or resume", "挂起或恢复";
    Label: "Label", "设置标签";
    Annotate: "Annotate", "设置注解";
    Propagation: "What it owns", "从属对象";
    Grace: "Seconds to end (empty: their own)", "终止宽限秒数（留空则用其自身设置）";
    Force: "Force", "强制";
    IgnoreDaemonSets: "Leave Pods of DaemonSets", "保留 DaemonSet 的 Pod";
    DeleteEmptyDir: "Lose data of emptyDir volumes", "丢弃 emptyDir 卷的数据";
    Changes: "key=value to set, key- to remove", "key=value 表示设置，key- 表示删除";
    JobName: "Name of the Job", "Job 名称";
    Revision: "Revision", "版本";
    Revisions: "Revisions", "历史版本";
    Cause: "Cause", "变更原因";
    Current: "current", "当前";
    Name: "Name", "名称";
    Before: "Before", "之前";
    After: "After", "之后";
    CarriedOver: "Somebody changed it meanwhile. Your change now stands on top of theirs: check, then save again.",
        "该对象已被他人修改。您的更改已应用到最新版本之上：请检查后再次保存。";
    Rollout: "Rollout", "发布";
    Terminal: "Terminal", "终端";
    Connecting: "Connecting…", "连接中…";
    Connected: "connected", "已连接";
    SessionOver: "The session is over.", "会话已结束。";
    Again: "Again", "重新连接";
    All: "all", "全部";
    Since: "Since", "时间范围";
    Previous: "before the last restart", "上次重启之前";
    Timestamps: "Timestamps", "时间戳";
    Download: "Download", "下载";
    Map: "Map", "拓扑图";
    Timeline: "Timeline", "时间线";
    WarningsOnly: "Warnings only", "仅显示警告";
    NothingHappened: "Nothing happened.", "没有事件。";
    MoreObjects: "more", "个其他对象";
    WithoutOwner: "Pods without owner", "无所属的 Pod";
    WithoutNode: "No node yet", "尚未调度";
    Endpoints: "Endpoints", "端点";
    Address: "Address", "地址";
    State: "State", "状态";
    Whose: "Belongs to", "归属";
    Node: "Node", "节点";
    Ready: "ready", "就绪";
    Quotas: "Quotas", "配额";
    Contents: "Contents", "内容";
    Used: "used", "已使用";
    UsedBy: "Used by", "被使用于";
    Lines: "lines", "行";
    Level: "From", "级别";
    Information: "information", "信息";
    Errors: "errors", "错误";
    Suggestions: "Suggestions (Ctrl-Space)", "补全建议（Ctrl-Space）";
    Required: "required", "必填";
    CpuUsed: "CPU used", "已使用的 CPU";
    MemoryUsed: "Memory used", "已使用的内存";
    FromYourMachine: "From your own machine", "从您自己的计算机访问";
    OverTime: "of what the nodes have, over time", "占节点总量的比例，随时间变化";
}

/// A line of output without what would command a terminal.
pub fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_command_no_terminal() {
        assert_eq!(
            plain("\u{1b}[31mred\u{1b}[0m\u{7}\u{1b}]0;title\tend"),
            "red]0;title\tend"
        );
    }

    #[test]
    fn every_text_is_there_in_every_language() {
        for text in Text::ALL {
            let (english, chinese) = (text.of(Language::English), text.of(Language::Chinese));
            assert!(!english.trim().is_empty() && !chinese.trim().is_empty(), "{text:?}");
            let ticks = |t: &str| t.matches('`').count();
            assert_eq!(ticks(english), ticks(chinese), "{text:?}");
            let same_on_purpose = matches!(text, Text::Yaml | Text::Pods | Text::OtherLanguage);
            assert!(
                same_on_purpose || !chinese.is_ascii(),
                "{text:?} is not Chinese: {chinese}"
            );
        }
    }
}
