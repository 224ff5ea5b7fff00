// A memory behind an AXI4-Lite slave, for what depends on the size of a design's state.
module memory #(
    parameter BITS = 21
) (
    input  wire        clk,
    input  wire        rst_n,
    input  wire [BITS-1:0] s_axil_awaddr,
    input  wire        s_axil_awvalid,
    output wire        s_axil_awready,
    input  wire [31:0] s_axil_wdata,
    input  wire [3:0]  s_axil_wstrb,
    input  wire        s_axil_wvalid,
    output wire        s_axil_wready,
    output wire [1:0]  s_axil_bresp,
    output reg         s_axil_bvalid,
    input  wire        s_axil_bready,
    input  wire [BITS-1:0] s_axil_araddr,
    input  wire        s_axil_arvalid,
    output wire        s_axil_arready,
    output reg  [31:0] s_axil_rdata,
    output wire [1:0]  s_axil_rresp,
    output reg         s_axil_rvalid,
    input  wire        s_axil_rready
);
  reg [31:0] cells[0:(1<<(BITS-2))-1];

  wire write = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_awready = write;
  assign s_axil_wready = write;
  assign s_axil_bresp = 2'b00;
  wire read = s_axil_arvalid && !s_axil_rvalid;
  assign s_axil_arready = read;
  assign s_axil_rresp = 2'b00;

  integer i;
  always @(posedge clk) begin
    if (!rst_n) begin
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
    end else begin
      if (write) begin
        for (i = 0; i < 4; i = i + 1)
        if (s_axil_wstrb[i]) cells[s_axil_awaddr[BITS-1:2]][8*i+:8] <= s_axil_wdata[8*i+:8];
        s_axil_bvalid <= 1'b1;
      end else if (s_axil_bready) s_axil_bvalid <= 1'b0;
      if (read) begin
        s_axil_rdata <= cells[s_axil_araddr[BITS-1:2]];
        s_axil_rvalid <= 1'b1;
      end else if (s_axil_rready) s_axil_rvalid <= 1'b0;
    end
  end
endmodule
